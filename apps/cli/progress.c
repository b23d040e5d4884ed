/* progress.c - one line on stderr for work that takes a while; nothing unless it is a terminal. */
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct cli_progress {
    char what[64];
    const char *unit;
    uint64_t done, total;
    double started, drawn;
    int shown;
};

static cli_progress *visible; /* the one whose line is on the terminal */

static int wanted(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

cli_progress *cli_progress_new(const char *what, uint64_t total, const char *unit) {
    cli_progress *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    snprintf(p->what, sizeof p->what, "%s", what);
    p->unit = unit;
    p->total = total;
    p->started = loam_now();
    p->shown = wanted() ? 0 : -1;
    return p;
}

static void put_amount(char *out, size_t n, double v, const char *unit) {
    if (!strcmp(unit, "B")) {
        static const char *names[] = {"B", "kB", "MB", "GB", "TB"};
        size_t i = 0;
        for (; v >= 1000 && i < 4; i++) v /= 1000;
        snprintf(out, n, i ? "%.1f %s" : "%.0f %s", v, names[i]);
    } else {
        snprintf(out, n, v < 10 && v > 0 ? "%.1f %s" : "%.0f %s", v, unit);
    }
}

static void draw(cli_progress *p, double now) {
    char amount[32], of[32] = "", rate[32], left[32] = "", bar[32] = "";
    struct winsize w;
    const double past = now - p->started, speed = past > 0 ? (double)p->done / past : 0;
    put_amount(amount, sizeof amount, (double)p->done, p->unit);
    put_amount(rate, sizeof rate, speed, p->unit);
    if (p->total) {
        const double part = p->done >= p->total ? 1 : (double)p->done / (double)p->total;
        const int full = (int)(part * 20);
        snprintf(bar, sizeof bar, "[%.*s%*s] ", full, "####################", 20 - full, "");
        put_amount(of, sizeof of, (double)p->total, p->unit);
        const double rest =
            speed > 0 ? (double)(p->total - (p->done < p->total ? p->done : p->total)) / speed : 0;
        if (rest >= 1)
            snprintf(left, sizeof left, ", %.0f:%02d left", rest / 60 < 1e6 ? floor(rest / 60) : 0,
                     (int)((long)rest % 60));
    }
    char line[320];
    snprintf(line, sizeof line, "%s %s%s%s%s, %s/s%s", p->what, bar, amount, *of ? " of " : "", of,
             rate, left);
    size_t columns = 80;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 1) columns = w.ws_col;
    fprintf(stderr, "\r\033[K%.*s", (int)(columns - 1), line);
    fflush(stderr);
    visible = p;
}

void cli_progress_set(cli_progress *p, uint64_t done, uint64_t total) {
    if (!p) return;
    p->done = done;
    if (total) p->total = total;
    if (p->shown < 0) return;
    const double now = loam_now();
    /* short work shows nothing; then ten times a second is as fast as one reads */
    if (now - p->started < 0.5 || (p->shown && now - p->drawn < 0.1)) return;
    p->shown = 1;
    p->drawn = now;
    draw(p, now);
}

void cli_progress_hide(void) {
    if (!visible) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    visible = NULL;
}

void cli_progress_end(cli_progress *p) {
    if (p && p == visible) cli_progress_hide();
    free(p);
}
