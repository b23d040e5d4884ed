/* math_lanes.h - exp, tanh and the activations of math_poly.h, for registers of 256 or 512 bits.
 *
 * Included once for each width (avx2.h, avx512vnni_math.c), which defines before:
 *
 *     FLOATS, INTS                  the registers
 *     PS(op), EPI32(op)             the intrinsics of f32 and int32
 *     NAME(f)                       f8 or f16
 *     AS_FLOATS(i), SIGN(x), WITHOUT_SIGN(x), NEGATE(x)
 *     IF_LESS(a, b, yes, no)        a < b ? yes : no, a NaN is not less
 */

LOAM_INLINE FLOATS NAME(exp)(FLOATS x) {
    const FLOATS lo = PS(set1)(LOAM_EXP_MIN), hi = PS(set1)(LOAM_EXP_MAX);
    /* the second operand is what min and max return for a NaN: it stays */
    const FLOATS in = PS(max)(lo, PS(min)(hi, x));
    const INTS n = EPI32(cvtps)(PS(mul)(in, PS(set1)(LOAM_LOG2E)));
    const FLOATS nf = PS(cvtepi32)(n);
    FLOATS r = PS(fmadd)(nf, PS(set1)(-LOAM_LN2_HI), in);
    r = PS(fmadd)(nf, PS(set1)(-(LOAM_LN2_LO)), r);
    FLOATS p = PS(set1)(LOAM_EXP_4);
    p = PS(fmadd)(p, r, PS(set1)(LOAM_EXP_3));
    p = PS(fmadd)(p, r, PS(set1)(LOAM_EXP_2));
    p = PS(fmadd)(p, r, PS(set1)(LOAM_EXP_1));
    p = PS(fmadd)(p, r, PS(set1)(LOAM_EXP_0));
    p = PS(fmadd)(PS(mul)(r, r), p, r);
    p = PS(add)(p, PS(set1)(1.0f));
    const INTS half = EPI32(srai)(n, 1), rest = EPI32(sub)(n, half), bias = EPI32(set1)(127);
    p = PS(mul)(p, AS_FLOATS(EPI32(slli)(EPI32(add)(half, bias), 23)));
    p = PS(mul)(p, AS_FLOATS(EPI32(slli)(EPI32(add)(rest, bias), 23)));
    p = IF_LESS(x, lo, PS(set1)(0.0f), p);
    return IF_LESS(hi, x, PS(set1)(__builtin_inff()), p);
}

LOAM_INLINE FLOATS NAME(tanh)(FLOATS x) {
    const FLOATS one = PS(set1)(1.0f);
    const FLOATS a = WITHOUT_SIGN(x), z = PS(mul)(x, x);
    FLOATS p = PS(set1)(LOAM_TANH_4);
    p = PS(fmadd)(p, z, PS(set1)(LOAM_TANH_3));
    p = PS(fmadd)(p, z, PS(set1)(LOAM_TANH_2));
    p = PS(fmadd)(p, z, PS(set1)(LOAM_TANH_1));
    p = PS(fmadd)(p, z, PS(set1)(LOAM_TANH_0));
    const FLOATS small = PS(fmadd)(PS(mul)(x, z), p, x);
    const FLOATS e = PS(add)(NAME(exp)(PS(mul)(PS(set1)(2.0f), a)), one);
    const FLOATS large = PS(sub)(one, PS(div)(PS(set1)(2.0f), e));
    return IF_LESS(a, PS(set1)(LOAM_TANH_SPLIT), small, PS(or)(large, SIGN(x)));
}

LOAM_INLINE FLOATS NAME(silu)(FLOATS x) {
    return PS(div)(x, PS(add)(PS(set1)(1.0f), NAME(exp)(NEGATE(x))));
}

LOAM_INLINE FLOATS NAME(gelu_tanh)(FLOATS x) {
    const FLOATS cube = PS(mul)(PS(mul)(x, x), x);
    const FLOATS u = PS(fmadd)(cube, PS(set1)(LOAM_GELU_CUBIC), x);
    const FLOATS e = NAME(exp)(PS(mul)(u, PS(set1)(LOAM_MINUS_2_SQRT_2_PI)));
    return PS(div)(x, PS(add)(PS(set1)(1.0f), e));
}

LOAM_INLINE FLOATS NAME(gelu_erf)(FLOATS x) {
    const FLOATS one = PS(set1)(1.0f);
    const FLOATS z = PS(mul)(WITHOUT_SIGN(x), PS(set1)(LOAM_SQRT_HALF));
    const FLOATS t = PS(div)(one, PS(fmadd)(z, PS(set1)(LOAM_ERFC_A), one));
    FLOATS p = PS(set1)(LOAM_ERFC_9);
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_8));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_7));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_6));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_5));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_4));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_3));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_2));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_1));
    p = PS(fmadd)(p, t, PS(set1)(LOAM_ERFC_0));
    const FLOATS e =
        PS(mul)(PS(mul)(PS(mul)(PS(set1)(0.5f), t), p), NAME(exp)(NEGATE(PS(mul)(z, z))));
    return PS(mul)(x, IF_LESS(x, PS(set1)(0.0f), e, PS(sub)(one, e)));
}

LOAM_INLINE FLOATS NAME(relu)(FLOATS x) {
    return IF_LESS(x, PS(set1)(0.0f), PS(set1)(0.0f), x);
}

LOAM_INLINE FLOATS NAME(act)(loam_act act, FLOATS x) {
    switch (act) {
    case LOAM_ACT_SILU: return NAME(silu)(x);
    case LOAM_ACT_GELU_ERF: return NAME(gelu_erf)(x);
    case LOAM_ACT_GELU_TANH: return NAME(gelu_tanh)(x);
    case LOAM_ACT_RELU: return NAME(relu)(x);
    case LOAM_ACT_TANH: return NAME(tanh)(x);
    }
    return x;
}

#undef FLOATS
#undef INTS
#undef PS
#undef EPI32
#undef NAME
#undef AS_FLOATS
#undef SIGN
#undef WITHOUT_SIGN
#undef NEGATE
#undef IF_LESS
