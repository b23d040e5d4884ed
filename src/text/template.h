/* template.h - what the parts of the chat template engine share.
 *
 *     source --lex--> tokens --parse--> nodes --eval(values, filters, methods)--> text
 *
 * Templates come from strangers: the interpreter knows no I/O and counts its
 * steps, depth, memory and output.  All memory of one parse or one rendering is
 * an arena, and errors leave by longjmp to the one setjmp that made the arena:
 * nothing can leak on the way, and the fifty filters stay free of error paths.
 * Values are immutable but for namespaces, cyclers and joiners, as in the
 * sandbox of transformers, so sharing needs no counting.
 */
#ifndef LOAM_SRC_TEXT_TEMPLATE_H
#define LOAM_SRC_TEXT_TEMPLATE_H

#include "base/base.h"
#include <loam/text.h>
#include <setjmp.h>

enum {
    TMPL_MAX_STEPS = 10000000,
    TMPL_MAX_DEPTH = 2000,       /* nested nodes and values; one is at most ~1 KB of C stack */
    TMPL_MAX_NESTING = 200,      /* of brackets and blocks in the source */
    TMPL_MAX_RANGE = 100000,     /* as the sandbox of transformers */
    TMPL_MAX_OUTPUT = 64 << 20,  /* bytes of any one text */
    TMPL_MAX_MEMORY = 512 << 20, /* bytes of the arena */
    TMPL_MAX_SOURCE = 4 << 20
};

/* Python's integers are unbounded; here 128 bits are the bound (64 where the compiler has no more),
 * beyond is LIMIT. */
#ifdef __SIZEOF_INT128__
__extension__ typedef __int128 tmpl_int;
__extension__ typedef unsigned __int128 tmpl_uint;
#else
typedef int64_t tmpl_int;
typedef uint64_t tmpl_uint;
#endif

typedef enum tmpl_type {
    TMPL_UNDEFINED,
    TMPL_NONE,
    TMPL_BOOL,
    TMPL_INT,
    TMPL_FLOAT,
    TMPL_STR,
    TMPL_BYTES,
    TMPL_LIST,
    TMPL_TUPLE,
    TMPL_DICT,
    TMPL_RANGE,
    TMPL_ITER, /* generators and iterators: read once */
    TMPL_VIEW, /* dict.keys(), .values(), .items() */
    TMPL_NAMESPACE,
    TMPL_LOOP,
    TMPL_MACRO,
    TMPL_FUNCTION, /* built-in, by name */
    TMPL_METHOD,   /* bound to its object */
    TMPL_CYCLER,
    TMPL_JOINER,
    TMPL_SELF, /* {{ self }} */
    TMPL_BLOCK /* self.name */
} tmpl_type;

typedef struct tmpl_ctx tmpl_ctx;
typedef struct tmpl_value tmpl_value;
typedef struct tmpl_node tmpl_node;
typedef struct tmpl_frame tmpl_frame;

typedef struct tmpl_str {
    const char *p;
    size_t n;
} tmpl_str;

enum { TMPL_SAFE = 1 /* markup: not escaped again */, TMPL_GROUP = 2 /* a tuple of groupby */ };

struct tmpl_value {
    uint8_t type;
    uint8_t flags;
    void *ref; /* by type: growth buffer of a string or list, dict, range, ... */
    union {
        tmpl_int i;
        double f;
        tmpl_str s;
        struct {
            const tmpl_value *items;
            size_t n;
        } l;
    } as;
};

typedef struct tmpl_entry {
    tmpl_value key, value;
    uint64_t hash;
} tmpl_entry;

/* Insertion-ordered; `slots` (open addressing, index + 1) exists from 9 entries on. */
typedef struct tmpl_dict {
    tmpl_entry *entries;
    size_t n, cap;
    uint32_t *slots;
    size_t n_slots;
} tmpl_dict;

typedef struct tmpl_range {
    int64_t start, stop, step;
    size_t n;
} tmpl_range;

typedef struct tmpl_iter {
    const tmpl_value *items;
    size_t n, at;
    const char *name; /* for printing */
} tmpl_iter;

typedef struct tmpl_view {
    tmpl_dict *dict;
    int kind; /* 0 keys, 1 values, 2 items */
} tmpl_view;

/* A running loop.  `source` is what it goes through; `items` the ones that passed its `if`
 * so far, which is asked only when an item is needed: the body may change its mind. */
typedef struct tmpl_loop {
    const tmpl_value *source;
    size_t n_source, i_source;
    tmpl_value *items;
    size_t n, at;
    int depth0;
    int has_changed;
    tmpl_value changed;
    const tmpl_node *node; /* the for statement */
    tmpl_frame *frame;     /* where it stands */
} tmpl_loop;

typedef struct tmpl_macro {
    const tmpl_node *node;
    tmpl_frame *frame; /* where it was defined: the names it sees */
} tmpl_macro;

typedef struct tmpl_method {
    tmpl_value self;
    const char *name;
} tmpl_method;

typedef struct tmpl_cycler {
    const tmpl_value *items;
    size_t n, at;
} tmpl_cycler;

typedef struct tmpl_joiner {
    tmpl_value sep;
    int used;
} tmpl_joiner;

typedef struct tmpl_undefined {
    const char *hint; /* whole message, or NULL */
    const char *type; /* type of the object asked; NULL: it was a variable */
    tmpl_value name;
} tmpl_undefined;

/* Arguments of a call, positional then by name. */
typedef struct tmpl_args {
    const tmpl_value *pos;
    size_t n;
    const tmpl_str *names;
    const tmpl_value *named;
    size_t n_named;
} tmpl_args;

typedef enum tmpl_op {
    TMPL_OP_ADD,
    TMPL_OP_SUB,
    TMPL_OP_MUL,
    TMPL_OP_DIV,
    TMPL_OP_FLOORDIV,
    TMPL_OP_MOD,
    TMPL_OP_POW,
    TMPL_OP_EQ,
    TMPL_OP_NE,
    TMPL_OP_LT,
    TMPL_OP_LE,
    TMPL_OP_GT,
    TMPL_OP_GE,
    TMPL_OP_IN,
    TMPL_OP_NOT_IN
} tmpl_op;

typedef enum tmpl_kind {
    /* expressions */
    TMPL_N_CONST,
    TMPL_N_NAME,
    TMPL_N_TUPLE,   /* items */
    TMPL_N_LIST,    /* items */
    TMPL_N_DICT,    /* items: key, value, key, value ... */
    TMPL_N_ATTR,    /* a.name */
    TMPL_N_ITEM,    /* a[b] */
    TMPL_N_SLICE,   /* a:b:c, each may be NULL */
    TMPL_N_CALL,    /* a(call) */
    TMPL_N_FILTER,  /* a | name(call); a NULL: the text of the block around */
    TMPL_N_TEST,    /* a is name(call) */
    TMPL_N_NOT,     /* a */
    TMPL_N_NEG,     /* a */
    TMPL_N_POS,     /* a */
    TMPL_N_AND,     /* a, b */
    TMPL_N_OR,      /* a, b */
    TMPL_N_BINARY,  /* a op b */
    TMPL_N_COMPARE, /* a, then items by ops */
    TMPL_N_CONCAT,  /* items */
    TMPL_N_COND,    /* a if b else c; c may be NULL */
    TMPL_N_NSREF,   /* target name.(value) */
    /* statements */
    TMPL_N_TEXT,         /* value */
    TMPL_N_PRINT,        /* a */
    TMPL_N_BODY,         /* items */
    TMPL_N_IF,           /* a; b then; c else or NULL */
    TMPL_N_FOR,          /* a target, b iterable, c test; items: body, else; op: recursive */
    TMPL_N_SET,          /* a = b */
    TMPL_N_SET_BLOCK,    /* a target, b filter chain or NULL, c body */
    TMPL_N_MACRO,        /* name, params, items: defaults of the last ones, c body, flags */
    TMPL_N_CALL_BLOCK,   /* a: the call; b: the caller macro */
    TMPL_N_FILTER_BLOCK, /* b filter chain, c body */
    TMPL_N_WITH,         /* items: target, value ...; c body */
    TMPL_N_BLOCK,        /* name, c body; op: scoped */
    TMPL_N_AUTOESCAPE,   /* a; c body */
    TMPL_N_SCOPE,        /* c body (generation) */
    TMPL_N_NO_LOADER,    /* include, import, extends */
    TMPL_N_BREAK,
    TMPL_N_CONTINUE
} tmpl_kind;

typedef struct tmpl_call {
    tmpl_node **pos;
    size_t n;
    tmpl_str *names;
    tmpl_node **named;
    size_t n_named;
    tmpl_node *star, *star_star;
} tmpl_call;

enum { TMPL_USES_CALLER = 1, TMPL_USES_VARARGS = 2, TMPL_USES_KWARGS = 4 };

struct tmpl_node {
    uint8_t kind, op, flags;
    int line;
    tmpl_str name;
    tmpl_value value;
    tmpl_node *a, *b, *c;
    tmpl_node **items;
    size_t n_items;
    uint8_t *ops;
    tmpl_str *params;
    size_t n_params;
    tmpl_call *call;
};

/* Variables of one scope. */
typedef struct tmpl_var {
    tmpl_str name;
    tmpl_value value;
} tmpl_var;
struct tmpl_frame {
    tmpl_frame *parent;
    tmpl_var *vars;
    size_t n, cap;
    int captured; /* a macro was defined in it: it must stay as it is */
};

typedef struct tmpl_chunk {
    struct tmpl_chunk *next;
    size_t size, used;
} tmpl_chunk;

/* A text being built, in the arena; or in the caller's buffer when `out` is set. */
typedef struct tmpl_buf {
    tmpl_ctx *ctx;
    char *p;
    size_t n, cap;
    loam_buf *out;
} tmpl_buf;

struct tmpl_ctx {
    jmp_buf jump; /* where errors go */
    loam_err *err;
    loam_status status;
    const char *name; /* of the template, for messages */
    tmpl_chunk *chunks;
    size_t memory;
    uint64_t steps;
    int depth, line;
    int64_t now;
    int utc;
    int autoescape;
    int leaving;       /* 1 break, 2 continue */
    tmpl_buf *out;     /* where {{ }} goes at present */
    tmpl_frame *frame; /* current scope */
    tmpl_frame *root;
    const tmpl_node *tree;
    tmpl_value block_text; /* what a filter without input works on */
};

/* ---- memory and errors (template.c) ---- */
void *loam_tmpl_alloc(tmpl_ctx *c, size_t n, size_t size);
_Noreturn void loam_tmpl_fail(tmpl_ctx *c, loam_status status, const char *fmt, ...)
    LOAM_PRINTF(3, 4);
_Noreturn void loam_tmpl_raise(tmpl_ctx *c, tmpl_str message); /* raise_exception */
void loam_tmpl_step(tmpl_ctx *c, size_t work); /* counts; work in elementary operations */
void loam_tmpl_enter(tmpl_ctx *c);             /* depth + 1, checked */

/* ---- text buffers (template_text.c) ---- */
tmpl_buf loam_tmpl_buf(tmpl_ctx *c);
void loam_tmpl_put(tmpl_buf *b, const char *p, size_t n);
void loam_tmpl_puts(tmpl_buf *b, const char *s);
void loam_tmpl_put_rune(tmpl_buf *b, uint32_t rune);
void loam_tmpl_put_fill(tmpl_buf *b, tmpl_str fill, int64_t times);
tmpl_value loam_tmpl_take(tmpl_buf *b); /* the text built, as a string */

/* ---- parser (template_lex.c, template_parse.c, template_expression.c) ---- */
typedef enum tmpl_token_type {
    TMPL_T_EOF,
    TMPL_T_DATA,
    TMPL_T_VAR_BEGIN,
    TMPL_T_VAR_END,
    TMPL_T_BLOCK_BEGIN,
    TMPL_T_BLOCK_END,
    TMPL_T_NAME,
    TMPL_T_STRING,
    TMPL_T_NUMBER, /* value: int or float */
    TMPL_T_OP      /* text: the operator */
} tmpl_token_type;
typedef struct tmpl_token {
    tmpl_token_type type;
    int line;
    tmpl_str text;
    tmpl_value value;
} tmpl_token;
/* All tokens, the last one EOF.  `source` must outlive them (data is not copied). */
tmpl_token *loam_tmpl_lex(tmpl_ctx *c, tmpl_str source, size_t *n);
tmpl_node *loam_tmpl_parse(tmpl_ctx *c, tmpl_str source);
/* What Jinja refuses at compile time (template_check.c). */
void loam_tmpl_check(tmpl_ctx *c, const tmpl_node *tree);

/* ---- values (template_value.c) ---- */
tmpl_value loam_tmpl_none(void);
tmpl_value loam_tmpl_bool(int b);
tmpl_value loam_tmpl_int(tmpl_int i);
tmpl_value loam_tmpl_float(double f);
tmpl_value loam_tmpl_str(tmpl_str s); /* borrowed */
tmpl_value loam_tmpl_strz(const char *s);
tmpl_value loam_tmpl_list(tmpl_type type, const tmpl_value *items, size_t n);
tmpl_value loam_tmpl_ref(tmpl_type type, void *ref);
tmpl_value loam_tmpl_iter(tmpl_ctx *c, const tmpl_value *items, size_t n, const char *name);
tmpl_value loam_tmpl_pair(tmpl_ctx *c, tmpl_value a, tmpl_value b); /* a tuple */
tmpl_value loam_tmpl_undefined_name(tmpl_ctx *c, tmpl_str name);
tmpl_value loam_tmpl_undefined_attr(tmpl_ctx *c, tmpl_value object, tmpl_value name);
tmpl_value loam_tmpl_undefined_hint(tmpl_ctx *c, const char *hint);
tmpl_value loam_tmpl_unsafe(tmpl_ctx *c, tmpl_value object, tmpl_str name);
_Noreturn void loam_tmpl_fail_undefined(tmpl_ctx *c, tmpl_value v);
const char *loam_tmpl_type_name(tmpl_value v);
int loam_tmpl_is(tmpl_str s, const char *z);
int loam_tmpl_same(tmpl_str a, tmpl_str b);
int loam_tmpl_is_int(tmpl_value v, tmpl_int *out);      /* ints and bools */
int loam_tmpl_is_number(tmpl_value v, double *out);     /* floats too */
int64_t loam_tmpl_index(tmpl_ctx *c, tmpl_value v);     /* clamped; not an int: TypeError */
tmpl_str loam_tmpl_need_str(tmpl_ctx *c, tmpl_value v); /* not a string: TypeError */

int loam_tmpl_truth(tmpl_ctx *c, tmpl_value v);
int loam_tmpl_equal(tmpl_ctx *c, tmpl_value a, tmpl_value b);
int loam_tmpl_order(tmpl_ctx *c, tmpl_op op, tmpl_value a, tmpl_value b); /* < <= > >= */
int loam_tmpl_contains(tmpl_ctx *c, tmpl_value item, tmpl_value in);
int64_t loam_tmpl_length(tmpl_ctx *c, tmpl_value v);
/* Items of anything iterable; iterators are used up. */
const tmpl_value *loam_tmpl_items(tmpl_ctx *c, tmpl_value v, size_t *n);
int loam_tmpl_iterable(tmpl_value v);
/* Stable sort by keys, items moved alike. */
void loam_tmpl_sort(tmpl_ctx *c, tmpl_value *keys, tmpl_value *items, size_t n, int reverse);

tmpl_dict *loam_tmpl_dict_new(tmpl_ctx *c, size_t room);
void loam_tmpl_dict_set(tmpl_ctx *c, tmpl_dict *d, tmpl_value key, tmpl_value value);
const tmpl_value *loam_tmpl_dict_get(tmpl_ctx *c, const tmpl_dict *d, tmpl_value key); /* NULL */
const tmpl_value *loam_tmpl_dict_gets(tmpl_ctx *c, const tmpl_dict *d, const char *key);
tmpl_value loam_tmpl_from_json(tmpl_ctx *c, const loam_json_value *v);

/* ---- text of values (template_text.c) ---- */
void loam_tmpl_put_str(tmpl_buf *b, tmpl_value v);  /* str(v) */
void loam_tmpl_put_repr(tmpl_buf *b, tmpl_value v); /* repr(v) */
void loam_tmpl_put_float(tmpl_buf *b, double v);    /* repr of a float */
void loam_tmpl_put_int(tmpl_buf *b, tmpl_int v, unsigned base);
void loam_tmpl_put_escaped(tmpl_buf *b, tmpl_str s); /* HTML */
tmpl_str loam_tmpl_to_str(tmpl_ctx *c, tmpl_value v);
tmpl_value loam_tmpl_escape(tmpl_ctx *c, tmpl_value v); /* markup of a value */
typedef struct tmpl_json_style {
    tmpl_str indent;    /* of one level */
    tmpl_str item, key; /* separators */
    int pretty, ascii, sort;
} tmpl_json_style;
void loam_tmpl_put_json(tmpl_buf *b, tmpl_value v, const tmpl_json_style *style, size_t level);
tmpl_value loam_tmpl_concat_str(tmpl_ctx *c, tmpl_value a, tmpl_str b); /* grows a if it can */
tmpl_value loam_tmpl_concat_list(tmpl_ctx *c, tmpl_value a, tmpl_value b);

/* ---- characters (template_unicode.c): strings are code points in UTF-8 ---- */
size_t loam_tmpl_runes(tmpl_str s);                       /* how many */
uint32_t loam_tmpl_rune(const char **p, const char *end); /* next; broken bytes give U+FFFD */
size_t loam_tmpl_offset(tmpl_str s, size_t i_rune);       /* byte of a rune; clamped to the end */
int loam_tmpl_is_space(uint32_t rune);
int loam_tmpl_is_line_end(uint32_t rune);
int loam_tmpl_is_printable(uint32_t rune);
int loam_tmpl_is_word(uint32_t rune);                  /* \w */
int loam_tmpl_is_class(tmpl_str s, const char *which); /* "isalpha", ... */
typedef enum tmpl_case {
    TMPL_UPPER,
    TMPL_LOWER,
    TMPL_TITLE,
    TMPL_CAPITALIZE,
    TMPL_SWAPCASE,
    TMPL_CASEFOLD
} tmpl_case;
void loam_tmpl_put_case(tmpl_buf *b, tmpl_str s, tmpl_case k);
tmpl_value loam_tmpl_recase(tmpl_ctx *c, tmpl_str s, tmpl_case k);
/* side: 1 left, 2 right, 3 both; chars NULL: white space */
tmpl_str loam_tmpl_strip(tmpl_str s, const tmpl_str *chars, int side);

/* ---- formatting (template_format.c) ---- */
tmpl_value loam_tmpl_percent(tmpl_ctx *c, tmpl_value format, tmpl_value args);
tmpl_value loam_tmpl_format(tmpl_ctx *c, tmpl_str format, const tmpl_args *a);

/* ---- evaluation (template_eval.c, template_op.c, template_call.c) ---- */
tmpl_value loam_tmpl_eval(tmpl_ctx *c, const tmpl_node *n);
void loam_tmpl_exec(tmpl_ctx *c, const tmpl_node *n);
void loam_tmpl_args(tmpl_ctx *c, const tmpl_call *call, tmpl_args *out);
tmpl_value loam_tmpl_binary(tmpl_ctx *c, tmpl_op op, tmpl_value a, tmpl_value b);
int loam_tmpl_compare(tmpl_ctx *c, tmpl_op op, tmpl_value a, tmpl_value b);
tmpl_value loam_tmpl_negate(tmpl_ctx *c, tmpl_value v);
tmpl_value loam_tmpl_attr(tmpl_ctx *c, tmpl_value object, tmpl_str name);  /* object.name */
tmpl_value loam_tmpl_item(tmpl_ctx *c, tmpl_value object, tmpl_value key); /* object[key] */
/* bounds: start, stop, step; NONE where left out */
tmpl_value loam_tmpl_slice(tmpl_ctx *c, tmpl_value v, const tmpl_value bounds[3]);
tmpl_value loam_tmpl_call_value(tmpl_ctx *c, tmpl_value f, const tmpl_args *a);
tmpl_value loam_tmpl_call_function(tmpl_ctx *c, const char *name, const tmpl_args *a);
tmpl_value loam_tmpl_call_macro(tmpl_ctx *c, const tmpl_macro *m, const tmpl_args *a);
tmpl_value loam_tmpl_run_loop(tmpl_ctx *c, const tmpl_node *n, tmpl_frame *frame, tmpl_value items,
                              int depth0); /* a recursive loop's text */
/* Have items up to index `upto` (SIZE_MAX: all); 1 when that index is there. */
int loam_tmpl_loop_fill(tmpl_ctx *c, tmpl_loop *l, size_t upto);
tmpl_value loam_tmpl_run_block(tmpl_ctx *c, const tmpl_node *block);
const tmpl_node *loam_tmpl_find_block(const tmpl_node *tree, tmpl_str name);
void loam_tmpl_define(tmpl_ctx *c, tmpl_frame *f, tmpl_str name, tmpl_value v);
tmpl_frame *loam_tmpl_frame_new(tmpl_ctx *c, tmpl_frame *parent);
int loam_tmpl_global(tmpl_str name, tmpl_value *out); /* range, namespace, ...; 0: no */

/* ---- methods (template_method.c), filters, tests ---- */
typedef enum tmpl_found { TMPL_NO_ATTR, TMPL_HAS_ATTR, TMPL_UNSAFE_ATTR } tmpl_found;
tmpl_found loam_tmpl_find_method(tmpl_value v, tmpl_str name, const char **known);
tmpl_value loam_tmpl_call_method(tmpl_ctx *c, const tmpl_method *m, const tmpl_args *a);
int loam_tmpl_filter_exists(tmpl_str name);
int loam_tmpl_test_exists(tmpl_str name);
tmpl_value loam_tmpl_filter(tmpl_ctx *c, tmpl_str name, tmpl_value v, const tmpl_args *a);
int loam_tmpl_test(tmpl_ctx *c, tmpl_str name, tmpl_value v, const tmpl_args *a);
/* One filter: v is its input. */
typedef tmpl_value tmpl_filter(tmpl_ctx *c, tmpl_value v, const tmpl_args *a);
typedef struct tmpl_filter_row {
    const char *name;
    tmpl_filter *run;
} tmpl_filter_row;
extern const tmpl_filter_row loam_tmpl_sequence_filters[]; /* template_sequence.c; ends with NULL */
extern const tmpl_filter_row loam_tmpl_html_filters[];     /* template_html.c */

/* ---- arguments (template_call.c) ---- */
/* Sort arguments by parameter names ("a,b,c"); `required` of them must be there.  A
 * missing one is left "not given". */
void loam_tmpl_bind(tmpl_ctx *c, const char *what, const char *params, size_t required,
                    const tmpl_args *a, tmpl_value *out);
int loam_tmpl_given(tmpl_value v);

#endif
