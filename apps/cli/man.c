/* man.c - the option table as a man page (roff); see tools/make-man.sh. */
#include "cli/man.h"
#include "cli/cli.h"

#include <string.h>

/* roff reads '-' as a hyphen and a leading '.' or '\'' as a request. */
static void put_roff(const char *s) {
    int line_start = 1;
    for (; *s; s++) {
        if (line_start && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
        if (*s == '\\')
            fputs("\\e", stdout);
        else if (*s == '-')
            fputs("\\-", stdout);
        else
            putchar(*s);
        line_start = *s == '\n';
    }
}

static void put_option(const cli_option *o) {
    printf(".TP\n");
    if (o->letter) printf("\\fB\\-%c\\fR, ", o->letter);
    printf("\\fB\\-\\-");
    put_roff(o->name);
    printf("\\fR");
    if (o->kind != CLI_FLAG) {
        printf(" \\fI");
        put_roff(o->value);
        printf("\\fR");
    }
    putchar('\n');
    put_roff(o->help);
    putchar('\n');
}

static const char EXIT_STATUS[] =
    ".SH EXIT STATUS\n.TS\ntab(|);\nl l.\n0|success\n1|run-time error\n2|wrong usage\n"
    "3|model or index not found, or incomplete\n4|damaged or unsupported input\n5|network\n"
    "6|out of memory or disk\n7|locked by another process\n8|no supported citation (with "
    "\\-\\-require\\-citations)\n9|done, but some inputs failed\n130|interrupted "
    "(Ctrl-C)\n143|ended by SIGTERM\n.TE\n";

void cli_print_man(const cli_program *p, const cli_option *common, size_t n_common) {
    char name[64];
    snprintf(name, sizeof name, "%s", p->name);
    for (char *s = name; *s; s++)
        if (*s == ' ') *s = '-';
    printf("'\\\" t\n.TH \"%s\" 1 \"\" \"loam %s\" \"loam\"\n.SH NAME\n", name, LOAM_VERSION);
    put_roff(name);
    printf(" \\- ");
    put_roff(p->summary);
    printf("\n.SH SYNOPSIS\n.B ");
    put_roff(p->name);
    printf("\n");
    put_roff(p->usage);
    printf("\n.SH OPTIONS\n");
    for (const cli_option *o = p->options; o->name; o++) put_option(o);
    for (size_t i = 0; i < n_common; i++) put_option(&common[i]);
    fputs(EXIT_STATUS, stdout);
    if (p->examples) {
        printf(".SH EXAMPLES\n.nf\n");
        put_roff(p->examples);
        printf(".fi\n");
    }
    printf(".SH SEE ALSO\n.BR loam (1),\n.BR rag\\-cli (1)\n");
}
