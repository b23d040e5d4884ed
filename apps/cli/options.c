/* options.c - one table gives parsing, --help and (by tools/make-man.sh) man pages. */
#include "cli/cli.h"
#include "cli/man.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 28, TEXT_WIDTH = 96 };

static void *at(void *args, const cli_option *o) {
    return (char *)args + o->offset;
}

static void print_wrapped(const char *text, size_t column) {
    size_t used = column;
    while (*text) {
        const char *space = strchr(text, ' ');
        const size_t word = space ? (size_t)(space - text) : strlen(text);
        if (used > column && used + 1 + word > TEXT_WIDTH) {
            printf("\n%*s", (int)column, "");
            used = column;
        }
        if (used > column) {
            putchar(' ');
            used++;
        }
        printf("%.*s", (int)word, text);
        used += word;
        text += word + (space ? 1 : 0);
    }
    putchar('\n');
}

static void print_option(const cli_option *o) {
    char left[96];
    const char *value = o->kind == CLI_FLAG ? "" : o->value;
    if (o->letter)
        snprintf(left, sizeof left, "  -%c, --%s%s%s", o->letter, o->name, *value ? " " : "",
                 value);
    else
        snprintf(left, sizeof left, "      --%s%s%s", o->name, *value ? " " : "", value);
    if (strlen(left) + 2 > HELP_COLUMN)
        printf("%s\n%*s", left, HELP_COLUMN, "");
    else
        printf("%-*s", HELP_COLUMN, left);
    print_wrapped(o->help, HELP_COLUMN);
}

static const cli_option COMMON[] = {
    {"help", 'h', CLI_FLAG, 0, "", "show this help and exit", 0, 0},
    {"version", 0, CLI_FLAG, 0, "", "show the version and exit", 0, 0},
};

static void print_help(const cli_program *p) {
    printf("%s - %s\n\nUsage: %s %s\n\nOptions:\n", p->name, p->summary, p->name, p->usage);
    for (const cli_option *o = p->options; o->name; o++) print_option(o);
    for (size_t i = 0; i < sizeof COMMON / sizeof *COMMON; i++) print_option(&COMMON[i]);
    if (p->examples) printf("\nExamples:\n%s", p->examples);
}

/* Edit distance, for suggestions; names are short. */
static size_t distance(const char *a, const char *b) {
    size_t row[64], n = strlen(b);
    if (n >= 63 || strlen(a) >= 63) return 99;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            const size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t best = row[j] + 1 < row[j - 1] + 1 ? row[j] + 1 : row[j - 1] + 1;
            row[j] = change < best ? change : best;
        }
    }
    return row[n];
}

_Noreturn static void fail_unknown(const cli_program *p, const char *name) {
    const char *near = NULL;
    size_t best = 4;
    for (const cli_option *o = p->options; o->name; o++) {
        const size_t d = distance(name, o->name);
        if (d < best && d < strlen(o->name)) {
            best = d;
            near = o->name;
        }
    }
    if (near) cli_fail(CLI_EXIT_USAGE, "unknown option --%s: did you mean --%s?", name, near);
    cli_fail(CLI_EXIT_USAGE, "unknown option --%s: see '%s --help'", name, p->name);
}

_Noreturn static void fail_value(const cli_option *o, const char *text, const char *why) {
    cli_fail(CLI_EXIT_USAGE, "--%s '%s': %s", o->name, text, why);
}

/* Whole decimal numbers only: strtoull's signs, spaces, 0x and octal are not for users. */
static uint64_t parse_unsigned(const cli_option *o, const char *text) {
    uint64_t v = 0;
    if (!*text) fail_value(o, text, "a whole number was expected");
    for (const char *s = text; *s; s++) {
        if (*s < '0' || *s > '9') fail_value(o, text, "a whole number was expected");
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
            fail_value(o, text, "the number is too large");
    }
    return v;
}

static void check_range(const cli_option *o, const char *text, double v) {
    if (o->min == 0 && o->max == 0) return;
    if (v >= o->min && v <= o->max) return;
    char why[96];
    snprintf(why, sizeof why, "must be between %.15g and %.15g", o->min, o->max);
    fail_value(o, text, why);
}

static void set_choice(const cli_option *o, const char *text, void *out) {
    const size_t n = strlen(text);
    for (const char *c = o->value; n > 0 && c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL) {
        const size_t m = strcspn(c, "|");
        if (m == n && !memcmp(c, text, n)) {
            *(const char **)out = text;
            return;
        }
    }
    char why[128];
    snprintf(why, sizeof why, "must be one of %s", o->value);
    fail_value(o, text, why);
}

/* The lists that parsing made: lent to the program until cli_free_lists(). */
typedef struct list_block {
    struct list_block *next;
    const char *items[];
} list_block;

static list_block *blocks;
static size_t list_room; /* no list is longer than the command line */

static void add_string(cli_strings *list, const char *text) {
    if (!list->items) {
        list_block *block = malloc(sizeof *block + list_room * sizeof *block->items);
        if (!block) cli_fail(CLI_EXIT_RESOURCES, "out of memory");
        block->next = blocks;
        blocks = block;
        list->items = block->items;
    }
    list->items[list->n++] = text;
}

void cli_free_lists(void) {
    while (blocks) {
        list_block *next = blocks->next;
        free(blocks);
        blocks = next;
    }
}

static void add_sizes(const cli_option *o, const char *text, cli_sizes *list) {
    for (const char *c = text;; c++) {
        char one[32];
        const size_t n = strcspn(c, ",");
        if (list->n == CLI_MAX_SIZES) fail_value(o, text, "too many numbers");
        snprintf(one, sizeof one, "%.*s", (int)(n < sizeof one ? n : sizeof one), c);
        const uint64_t v = parse_unsigned(o, one);
        check_range(o, one, (double)v);
        list->items[list->n++] = (size_t)v;
        c += n;
        if (!*c) return;
    }
}

static float parse_float(const cli_option *o, const char *text) {
    char *end = NULL;
    errno = 0;
    const double v = strtod(text, &end);
    const int plain = strspn(text, "+-0123456789.eE") == strlen(text);
    if (end == text || *end || !plain || !isfinite(v) || fabs(v) > 3e38)
        fail_value(o, text, "a number was expected");
    check_range(o, text, v);
    return (float)v;
}

static void set_value(const cli_option *o, const char *text, void *args) {
    void *out = at(args, o);
    uint64_t v;
    switch (o->kind) {
    case CLI_FLAG: *(int *)out = 1; return;
    case CLI_STRING: *(const char **)out = text; return;
    case CLI_CHOICE: set_choice(o, text, out); return;
    case CLI_STRINGS: add_string(out, text); return;
    case CLI_SIZES: add_sizes(o, text, out); return;
    case CLI_FLOAT: *(float *)out = parse_float(o, text); return;
    case CLI_SIZE:
        v = parse_unsigned(o, text);
        check_range(o, text, (double)v);
        *(size_t *)out = (size_t)v;
        return;
    case CLI_U64: *(uint64_t *)out = parse_unsigned(o, text); return;
    case CLI_INT:
        v = parse_unsigned(o, text);
        if (v > 0x7fffffff) fail_value(o, text, "the number is too large");
        check_range(o, text, (double)v);
        *(int *)out = (int)v;
        return;
    }
}

static const cli_option *find_long(const cli_program *p, const char *name, size_t n) {
    for (const cli_option *o = p->options; o->name; o++)
        if (strlen(o->name) == n && !memcmp(o->name, name, n)) return o;
    return NULL;
}

static void show_common(const cli_program *p, const char *name) {
    if (!strcmp(name, "help"))
        print_help(p);
    else if (!strcmp(name, "version"))
        printf("loam %s\n", LOAM_VERSION);
    else if (!strcmp(name, "print-man")) /* for tools/make-man.sh */
        cli_print_man(p, COMMON, sizeof COMMON / sizeof *COMMON);
    else
        return;
    exit(cli_finish(CLI_EXIT_OK));
}

/* Handles argv[i], which starts with "--"; returns the index of the last argument used. */
static int parse_long(const cli_program *p, int i, int argc, char **argv, void *args) {
    const char *name = argv[i] + 2, *equals = strchr(name, '=');
    const size_t n = equals ? (size_t)(equals - name) : strlen(name);
    const cli_option *o = find_long(p, name, n);
    if (!o) {
        show_common(p, name);
        char copy[64];
        snprintf(copy, sizeof copy, "%.*s", (int)(n < 60 ? n : 60), name);
        fail_unknown(p, copy);
    }
    if (o->kind == CLI_FLAG) {
        if (equals) cli_fail(CLI_EXIT_USAGE, "--%s takes no value", o->name);
        set_value(o, "", args);
        return i;
    }
    if (equals) {
        set_value(o, equals + 1, args);
        return i;
    }
    if (i + 1 >= argc) cli_fail(CLI_EXIT_USAGE, "--%s needs a value: %s", o->name, o->value);
    set_value(o, argv[i + 1], args);
    return i + 1;
}

static int parse_short(const cli_program *p, int i, int argc, char **argv, void *args) {
    for (const char *c = argv[i] + 1; *c; c++) {
        const cli_option *o = p->options;
        while (o->name && o->letter != *c) o++;
        if (!o->name) {
            if (*c == 'h') show_common(p, "help");
            cli_fail(CLI_EXIT_USAGE, "unknown option -%c: see '%s --help'", *c, p->name);
        }
        if (o->kind == CLI_FLAG) {
            set_value(o, "", args);
            continue;
        }
        if (c[1]) {
            set_value(o, c + 1, args);
            return i;
        }
        if (i + 1 >= argc) cli_fail(CLI_EXIT_USAGE, "-%c needs a value: %s", *c, o->value);
        set_value(o, argv[i + 1], args);
        return i + 1;
    }
    return i;
}

void cli_parse(const cli_program *p, int argc, char **argv, void *args, cli_strings *rest) {
    cli_strings positional = {0};
    cli_set_program(p->name);
    list_room = (size_t)argc;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--")) {
            while (++i < argc) add_string(&positional, argv[i]);
            break;
        }
        if (!strncmp(argv[i], "--", 2))
            i = parse_long(p, i, argc, argv, args);
        else if (argv[i][0] == '-' && argv[i][1])
            i = parse_short(p, i, argc, argv, args);
        else
            add_string(&positional, argv[i]);
    }
    if (positional.n < p->min_rest)
        cli_fail(CLI_EXIT_USAGE, "an argument is missing: usage: %s %s", p->name, p->usage);
    if (positional.n > p->max_rest)
        cli_fail(CLI_EXIT_USAGE, "unexpected argument '%s': usage: %s %s",
                 positional.items[p->max_rest], p->name, p->usage);
    if (rest) *rest = positional;
}
