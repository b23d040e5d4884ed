#!/bin/bash
# The same bits everywhere, with a model of true size among them.
"$OBJ/tests/test_bits"
