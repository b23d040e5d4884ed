"""Fits the polynomials of src/kernels/math_poly.h.  Needs mpmath; prints highest power first."""
from mpmath import chebyfit, cos, diag, erfc, exp, log, lu_solve, matrix, mp, mpf, nstr, pi, sqrt, tanh

mp.dps = 40


def show(name, coefficients, error):
    print(name, [nstr(c, 12) for c in coefficients], "error", nstr(error, 3))


h = log(2) / 2 * mpf("1.01")
c, e = chebyfit(lambda r: (exp(r) - 1 - r) / r**2 if r else mpf(1) / 2, [-h, h], 5, error=True)
show("exp", c, e * h * h)

c, e = chebyfit(
    lambda z: (tanh(sqrt(z)) / sqrt(z) - 1) / z, [mpf("1e-9"), mpf("0.625") ** 2], 5, error=True
)
show("tanh", c, e * mpf("0.625") ** 2)

a = mpf("0.4")


def scaled_erfc(t):
    z = (1 / t - 1) / a
    return erfc(z) * exp(z * z) / t


c, e = chebyfit(scaled_erfc, [1 / (1 + a * 10), 1], 10, error=True)
show("erfc", c, e)


def relative_exp2(degree, points=60, rounds=150):
    """2^r = 1 + r (c1 + r (c2 ...)), the smallest relative error by weights that follow it."""
    rs = [cos(pi * (i + mpf(1) / 2) / points) / 2 for i in range(points)]
    a = matrix(points, degree)
    b = matrix(points, 1)
    for i, r in enumerate(rs):
        b[i] = 1 - mpf(2) ** -r
        for k in range(degree):
            a[i, k] = r ** (k + 1) / 2**r
    w = [mpf(1)] * points
    for _ in range(rounds):
        at = a.T * diag(w)
        c = lu_solve(at * a, at * b)
        off = [abs(x) for x in a * c - b]
        w = [x * e for x, e in zip(w, off)]
        total = sum(w)
        w = [x / total + mpf("1e-30") for x in w]
    return list(c)[::-1], max(off)


mp.dps = 15
show("exp2", *relative_exp2(5))
