/* ref_math.h - scalar functions that the files of the reference share. */
#ifndef LOAM_REF_MATH_H
#define LOAM_REF_MATH_H

float loam_ref_exp(float x);
float loam_ref_exp2(float x); /* of attention: x <= 0 or NaN */
float loam_ref_tanh(float x);
/* The end of every sum over sixteen lanes: 8 apart, 4, 2, 1. */
float loam_ref_tree(const float lanes[16]);

#endif
