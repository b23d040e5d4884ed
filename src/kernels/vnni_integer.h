/* vnni_integer.h - affine weights times int8 activations of many positions by VPDPBUSD, for AVX-512
 * VNNI and AVX-VNNI (vnni.h).
 *
 * Every bit width is one kernel, and an 8-bit q needs no correction.  The panel is the one of
 * avx2_integer.c, sixteen rows of four bytes, which is one register of 512 bits or two of 256:
 *
 *     panel [k/4][16 rows][4 k]  *  x[position][4 k] broadcast   tile: 2 registers x TILE_COLS
 *
 * Both registers share each broadcast.  The sums of a group are in registers; those of all groups,
 * in f32, are in memory and are met once a group.  m positions are cut into tiles of like size.
 *
 * Whoever includes it defines TILE_COLS (6 or 12), PANEL_BYTES, VECTOR_MAX, multiply_few, fill_panel
 * and groups_room.
 */
#ifdef LOAM_VNNI

enum { TILE_ROWS = 2 * LANES, PANEL_ROWS = 16, ROWS_MAX = 64 };

typedef struct tile_args {
    const unsigned char *q[2];          /* of the two registers: panels, or halves of one */
    const float *scales[2], *biases[2]; /* [n_groups][16] */
    size_t n_groups, group;
    const int8_t *x; /* of the tile's first position */
    size_t x_stride;
    const float *d, *s;
    size_t g_stride;
} tile_args;

#define FOR_COLS _Pragma("GCC unroll 12") for (size_t c = 0; c < n; c++)

LOAM_INLINE ints broadcast4(const int8_t *x) {
    int32_t v;
    memcpy(&v, x, 4);
    return SET_INTS(v);
}

/* A group of all columns into out: its sums are whole. */
LOAM_INLINE void add_group(const tile_args *t, size_t g, const ints *a, const ints *b, size_t n,
                           float *out) {
    /* or gcc keeps a second copy of out on the stack from one group to the next */
    __asm__ volatile("" : : : "memory");
    const floats s0 = LOAD_FLOATS(t->scales[0] + g * PANEL_ROWS);
    const floats s1 = LOAD_FLOATS(t->scales[1] + g * PANEL_ROWS);
    FOR_COLS {
        const floats d = SET_FLOATS(t->d[c * t->g_stride + g]);
        float *o = out + c * TILE_ROWS;
        STORE_FLOATS(o, FMA(MUL(s0, d), TO_FLOATS(a[c]), LOAD_FLOATS(o)));
        o += LANES;
        STORE_FLOATS(o, FMA(MUL(s1, d), TO_FLOATS(b[c]), LOAD_FLOATS(o)));
    }
}

LOAM_INLINE void add_biases(const tile_args *t, size_t n, float *out) {
    floats f0[TILE_COLS], f1[TILE_COLS];

    FOR_COLS {
        f0[c] = LOAD_FLOATS(out + c * TILE_ROWS);
        f1[c] = LOAD_FLOATS(out + c * TILE_ROWS + LANES);
    }
    for (size_t g = 0; g < t->n_groups; g++) {
        const floats b0 = LOAD_FLOATS(t->biases[0] + g * PANEL_ROWS);
        const floats b1 = LOAD_FLOATS(t->biases[1] + g * PANEL_ROWS);
        FOR_COLS {
            const floats s = SET_FLOATS(t->s[c * t->g_stride + g]);
            f0[c] = FMA(b0, s, f0[c]);
            f1[c] = FMA(b1, s, f1[c]);
        }
    }
    FOR_COLS {
        STORE_FLOATS(out + c * TILE_ROWS, f0[c]);
        STORE_FLOATS(out + c * TILE_ROWS + LANES, f1[c]);
    }
}

/* n positions: out [n][TILE_ROWS]. */
LOAM_INLINE void integer_tile(const tile_args *t, size_t n, float *out) {
    const unsigned char *q0 = t->q[0], *q1 = t->q[1];
    const size_t stride = t->x_stride;
    /* three positions a pointer: what an address can hold */
    const int8_t *x[TILE_COLS / 3];

    _Pragma("GCC unroll 4") for (size_t i = 0; i < TILE_COLS / 3; i++) x[i] =
        t->x + (3 * i < n ? 3 * i : 0) * stride;
    FOR_COLS {
        STORE_FLOATS(out + c * TILE_ROWS, SET_FLOATS(0));
        STORE_FLOATS(out + c * TILE_ROWS + LANES, SET_FLOATS(0));
    }
    for (size_t g = 0; g < t->n_groups; g++) {
        ints a[TILE_COLS], b[TILE_COLS];
        FOR_COLS a[c] = b[c] = SET_INTS(0);
        for (size_t k = 0; k < t->group; k += 4, q0 += 64, q1 += 64) {
            const ints w0 = LOAD_INTS(q0), w1 = LOAD_INTS(q1);
            FOR_COLS {
                const ints v = broadcast4(x[c / 3] + c % 3 * stride);
                a[c] = dot4(a[c], w0, v);
                b[c] = dot4(b[c], w1, v);
            }
            _Pragma("GCC unroll 4") for (size_t i = 0; i < TILE_COLS / 3; i++) x[i] += 4;
        }
        add_group(t, g, a, b, n, out);
    }
    add_biases(t, n, out);
}

#define DEFINE_TILE(N)                                                                             \
    static void tile_##N(const tile_args *t, float *out) {                                         \
        integer_tile(t, N, out);                                                                   \
    }

DEFINE_TILE(1)
DEFINE_TILE(2)
DEFINE_TILE(3)
DEFINE_TILE(4)
DEFINE_TILE(5)
DEFINE_TILE(6)
#if TILE_COLS > 6
DEFINE_TILE(7)
DEFINE_TILE(8)
DEFINE_TILE(9)
DEFINE_TILE(10)
DEFINE_TILE(11)
DEFINE_TILE(12)
#endif

typedef struct integer_panels {
    unsigned char *q;       /* [panels][cols / 4][16][4] */
    float *scales, *biases; /* [panels][padded groups][16] */
} integer_panels;

static void multiply_panels(const loam_matrix *w, const integer_panels *p, const loam_acts *a,
                            size_t m, size_t n_rows, float *y, size_t y_stride) {
    static void (*const tiles[])(const tile_args *t, float *out) = {
        tile_1,
        tile_2,
        tile_3,
        tile_4,
        tile_5,
        tile_6,
#if TILE_COLS > 6
        tile_7,
        tile_8,
        tile_9,
        tile_10,
        tile_11,
        tile_12,
#endif
    };
    const size_t groups = groups_room(w);
    tile_args t = {.n_groups = w->cols / (size_t)w->group,
                   .group = (size_t)w->group,
                   .x_stride = a->q_stride,
                   .g_stride = a->g_stride};

    for (size_t i = 0, cols; i < m; i += cols) {
        const size_t left = m - i, n_tiles = (left + TILE_COLS - 1) / TILE_COLS;
        cols = (left + n_tiles - 1) / n_tiles;
        t.x = a->q + i * a->q_stride;
        t.d = a->d + i * a->g_stride;
        t.s = a->s + i * a->g_stride;
        for (size_t r = 0; r < n_rows; r += TILE_ROWS) {
            const size_t rows = n_rows - r < TILE_ROWS ? n_rows - r : TILE_ROWS;
            float out[TILE_COLS * TILE_ROWS];
            for (size_t half = 0; half < 2; half++) {
                /* the second rows may not exist: the first serve, their sums are dropped */
                const size_t row = rows > half * LANES ? r + half * LANES : r;
                const size_t lane = row % PANEL_ROWS, panel = row - lane;
                t.q[half] = p->q + panel * w->cols + 4 * lane;
                t.scales[half] = p->scales + panel * groups + lane;
                t.biases[half] = p->biases + panel * groups + lane;
            }
            tiles[cols - 1](&t, out);
            for (size_t c = 0; c < cols; c++)
                memcpy(y + (i + c) * y_stride + r, out + c * TILE_ROWS, rows * sizeof *y);
        }
    }
}

static void integer_product_vnni(const loam_matrix *w, size_t row0, size_t n_rows,
                                 const loam_acts *a, size_t m, float *y, size_t y_stride,
                                 void *scratch) {
    if (m <= VECTOR_MAX) {
        multiply_few(w, row0, n_rows, a, m, y, y_stride, scratch);
        return;
    }
    const size_t groups = groups_room(w);
    size_t block = w->cols ? PANEL_BYTES / w->cols / TILE_ROWS * TILE_ROWS : ROWS_MAX;
    block = block < TILE_ROWS ? TILE_ROWS : block > ROWS_MAX ? ROWS_MAX : block;
    integer_panels p = {.q = scratch};
    p.scales = (float *)(void *)(p.q + block * w->cols);
    p.biases = p.scales + block * groups;
    for (size_t r = 0; r < n_rows; r += block) {
        const size_t rows = n_rows - r < block ? n_rows - r : block;
        for (size_t i = 0; i < rows; i += PANEL_ROWS)
            fill_panel(w, row0 + r + i, rows - i < PANEL_ROWS ? rows - i : PANEL_ROWS,
                       p.q + i * w->cols, p.scales + i * groups, p.biases + i * groups);
        multiply_panels(w, &p, a, m, rows, y + r, y_stride);
    }
}

#endif
