"""Fits the polynomials of src/kernels/math_poly.h.  Needs mpmath; prints highest power first."""
from mpmath import mp, mpf, chebyfit, erfc, exp, log, nstr, sqrt, tanh

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
