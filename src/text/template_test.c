/* template_test.c - tests: {% if x is mapping %}. */
#include "text/template.h"

typedef int test(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg);

static int is_odd_or_even(tmpl_ctx *c, tmpl_value v, int rest) {
    const tmpl_value m = loam_tmpl_binary(c, TMPL_OP_MOD, v, loam_tmpl_int(2));
    return loam_tmpl_equal(c, m, loam_tmpl_int(rest));
}

static int test_odd(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {
    (void)arg;
    return is_odd_or_even(c, v, 1);
}
static int test_even(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {
    (void)arg;
    return is_odd_or_even(c, v, 0);
}
static int test_divisibleby(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {
    return loam_tmpl_equal(c, loam_tmpl_binary(c, TMPL_OP_MOD, v, *arg), loam_tmpl_int(0));
}

#define TYPE_TEST(name, condition)                                                                 \
    static int test_##name(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {                     \
        (void)c;                                                                                   \
        (void)arg;                                                                                 \
        return condition;                                                                          \
    }
TYPE_TEST(defined, v.type != TMPL_UNDEFINED)
TYPE_TEST(undefined, v.type == TMPL_UNDEFINED)
TYPE_TEST(none, v.type == TMPL_NONE)
TYPE_TEST(boolean, v.type == TMPL_BOOL)
TYPE_TEST(true, v.type == TMPL_BOOL && v.as.i)
TYPE_TEST(false, v.type == TMPL_BOOL && !v.as.i)
TYPE_TEST(integer, v.type == TMPL_INT)
TYPE_TEST(float, v.type == TMPL_FLOAT)
TYPE_TEST(number, v.type == TMPL_INT || v.type == TMPL_FLOAT || v.type == TMPL_BOOL)
TYPE_TEST(string, v.type == TMPL_STR)
TYPE_TEST(mapping, v.type == TMPL_DICT)
TYPE_TEST(iterable, loam_tmpl_iterable(v))
TYPE_TEST(escaped, v.type == TMPL_STR && (v.flags & TMPL_SAFE))
TYPE_TEST(lower, loam_tmpl_is_class(loam_tmpl_to_str(c, v), "islower"))
TYPE_TEST(upper, loam_tmpl_is_class(loam_tmpl_to_str(c, v), "isupper"))
TYPE_TEST(filter, v.type == TMPL_STR && loam_tmpl_filter_exists(v.as.s))
TYPE_TEST(test, v.type == TMPL_STR && loam_tmpl_test_exists(v.as.s))

static int test_sequence(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {
    (void)c;
    (void)arg;
    switch (v.type) {
    case TMPL_UNDEFINED:
    case TMPL_STR:
    case TMPL_BYTES:
    case TMPL_LIST:
    case TMPL_TUPLE:
    case TMPL_DICT:
    case TMPL_RANGE: return 1;
    default: return 0;
    }
}

static int test_callable(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {
    (void)c;
    (void)arg;
    switch (v.type) {
    case TMPL_UNDEFINED:
    case TMPL_FUNCTION:
    case TMPL_METHOD:
    case TMPL_MACRO:
    case TMPL_LOOP:
    case TMPL_JOINER:
    case TMPL_BLOCK: return 1;
    default: return 0;
    }
}

/* Identity: equal scalars of one type are one object here. */
static int test_sameas(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {
    if (v.type != arg->type) return 0;
    switch (v.type) {
    case TMPL_LIST:
    case TMPL_TUPLE: return v.as.l.items == arg->as.l.items && v.as.l.n == arg->as.l.n;
    case TMPL_UNDEFINED:
    case TMPL_DICT: return v.ref == arg->ref;
    default: return loam_tmpl_equal(c, v, *arg);
    }
}

static int test_in(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {
    return loam_tmpl_contains(c, v, *arg);
}

#define ORDER_TEST(name, op)                                                                       \
    static int test_##name(tmpl_ctx *c, tmpl_value v, const tmpl_value *arg) {                     \
        return loam_tmpl_compare(c, op, v, *arg);                                                  \
    }
ORDER_TEST(eq, TMPL_OP_EQ)
ORDER_TEST(ne, TMPL_OP_NE)
ORDER_TEST(lt, TMPL_OP_LT)
ORDER_TEST(le, TMPL_OP_LE)
ORDER_TEST(gt, TMPL_OP_GT)
ORDER_TEST(ge, TMPL_OP_GE)

static const struct {
    const char *name;
    test *run;
    int takes; /* arguments */
} TESTS[] = {{"odd", test_odd, 0},
             {"even", test_even, 0},
             {"divisibleby", test_divisibleby, 1},
             {"defined", test_defined, 0},
             {"undefined", test_undefined, 0},
             {"filter", test_filter, 0},
             {"test", test_test, 0},
             {"none", test_none, 0},
             {"boolean", test_boolean, 0},
             {"false", test_false, 0},
             {"true", test_true, 0},
             {"integer", test_integer, 0},
             {"float", test_float, 0},
             {"lower", test_lower, 0},
             {"upper", test_upper, 0},
             {"string", test_string, 0},
             {"mapping", test_mapping, 0},
             {"number", test_number, 0},
             {"sequence", test_sequence, 0},
             {"iterable", test_iterable, 0},
             {"callable", test_callable, 0},
             {"sameas", test_sameas, 1},
             {"escaped", test_escaped, 0},
             {"in", test_in, 1},
             {"==", test_eq, 1},
             {"eq", test_eq, 1},
             {"equalto", test_eq, 1},
             {"!=", test_ne, 1},
             {"ne", test_ne, 1},
             {">", test_gt, 1},
             {"gt", test_gt, 1},
             {"greaterthan", test_gt, 1},
             {"ge", test_ge, 1},
             {">=", test_ge, 1},
             {"<", test_lt, 1},
             {"lt", test_lt, 1},
             {"lessthan", test_lt, 1},
             {"<=", test_le, 1},
             {"le", test_le, 1}};

static size_t find_test(tmpl_str name) {
    size_t i = 0;
    while (i < sizeof TESTS / sizeof *TESTS && !loam_tmpl_is(name, TESTS[i].name)) i++;
    return i;
}

int loam_tmpl_test_exists(tmpl_str name) {
    return find_test(name) < sizeof TESTS / sizeof *TESTS;
}

int loam_tmpl_test(tmpl_ctx *c, tmpl_str name, tmpl_value v, const tmpl_args *a) {
    const size_t i = find_test(name);
    tmpl_value arg[1];
    loam_tmpl_step(c, 0);
    if (i == sizeof TESTS / sizeof *TESTS)
        loam_tmpl_fail(c, LOAM_ERR_FORMAT, "No test named '%.*s'.", (int)name.n, name.p);
    if (TESTS[i].takes)
        loam_tmpl_bind(c, TESTS[i].name, "other", 1, a, arg);
    else
        loam_tmpl_bind(c, TESTS[i].name, "", 0, a, NULL);
    return TESTS[i].run(c, v, arg);
}
