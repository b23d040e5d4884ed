/* math_poly.h - the polynomials behind exp, tanh and gelu, shared by every instruction set.
 *
 * Minimax fits (tools/fit_math.py).  Evaluated by Horner's rule, one fma a step, in f32.
 *
 *   exp(x)   n = rint(x * log2 e);  r = fma(n, -LN2_HI, x), r = fma(n, -LN2_LO, r);
 *            e^r = fma(r*r, E(r), r) + 1;  times 2^(n >> 1), times 2^(n - (n >> 1)); the clamp
 *            to [EXP_MIN, EXP_MAX] comes first, results beyond it are 0 and inf
 *   exp2(x)  of attention, x <= 0 or NaN:  t = x + EXP2_ROUND, the sum rounds to a whole number;
 *            r = x - (t - EXP2_ROUND);  2^r by Horner's rule from EXP2_5 down to 1;  times 2^n, whose
 *            bits are those of t << 23;  0 below EXP2_MIN
 *   tanh(x)  |x| < 0.625:  fma(x * z, T(z), x), z = x*x;   else  1 - 2 / (exp(2|x|) + 1), signed
 *   gelu     z = |x| / sqrt 2;  t = 1 / fma(z, 0.4, 1);  e = (t/2 * P(t)) * exp(-(z*z))
 *            gelu(x) = x * (x < 0 ? e : 1 - e)
 */
#ifndef LOAM_MATH_POLY_H
#define LOAM_MATH_POLY_H

#define LOAM_LOG2E   1.44269504f
#define LOAM_LN2_HI  0.693359375f
#define LOAM_LN2_LO  -2.12194440e-4f
#define LOAM_EXP_MIN -87.3365447f
#define LOAM_EXP_MAX 88.7228394f
/* fit error of e^r: 8e-9 */
#define LOAM_EXP_4 1.3926926614e-3f
#define LOAM_EXP_3 8.36377387441e-3f
#define LOAM_EXP_2 4.16665501103e-2f
#define LOAM_EXP_1 1.66665733819e-1f
#define LOAM_EXP_0 0.5f

#define LOAM_EXP2_MIN   -100.0f
#define LOAM_EXP2_ROUND 12583039.0f /* 1.5 * 2^23, and the 127 of an exponent */
/* fit error of 2^r: 9.1e-8 */
#define LOAM_EXP2_5 1.32645231e-3f
#define LOAM_EXP2_4 9.67148217e-3f
#define LOAM_EXP2_3 5.55073492e-2f
#define LOAM_EXP2_2 2.40222427e-1f
#define LOAM_EXP2_1 6.93146976e-1f

#define LOAM_TANH_SPLIT 0.625f
/* fit error: 1.7e-8 */
#define LOAM_TANH_4 -6.09671415996e-3f
#define LOAM_TANH_3 2.09971789938e-2f
#define LOAM_TANH_2 -5.3850909577e-2f
#define LOAM_TANH_1 1.3332769737e-1f
#define LOAM_TANH_0 -3.33333289441e-1f

#define LOAM_ERFC_A 0.4f
/* erfc(z) e^(z*z) / t, z <= 10; fit error 5e-9 of 0.3 .. 1 */
#define LOAM_ERFC_9 -3.35011268715e-2f
#define LOAM_ERFC_8 2.1878535613e-1f
#define LOAM_ERFC_7 -5.46502617759e-1f
#define LOAM_ERFC_6 6.09342180285e-1f
#define LOAM_ERFC_5 -3.34311876173e-1f
#define LOAM_ERFC_4 2.97973194581e-1f
#define LOAM_ERFC_3 1.21059982469e-1f
#define LOAM_ERFC_2 2.16689385959e-1f
#define LOAM_ERFC_1 2.24748665273e-1f
#define LOAM_ERFC_0 2.25716857437e-1f

#define LOAM_GELU_COARSE 4.5f
/* (Phi(s) - 1/2) / s in s^2, highest first; Phi off by 2e-5 at most */
#define LOAM_GELU_COARSE_P                                                                         \
    {                                                                                              \
        3.037120208e-11f, -3.315316466e-09f, 1.591253778e-07f, -4.452274425e-06f,                  \
            8.143195009e-05f, -0.001037641312f, 0.009585412219f, -0.06598509848f, 0.3987129629f    \
    }

#define LOAM_SQRT_HALF         0.707106781f
#define LOAM_GELU_CUBIC        0.044715f
#define LOAM_MINUS_2_SQRT_2_PI -1.59576912f /* -2 sqrt(2 / pi) */

#endif
