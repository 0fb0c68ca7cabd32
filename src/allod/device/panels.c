// Products of rows by weights that lie in panels, in front of a BLAS.
//
// MLX lets no custom operation run on a CPU, but its products call `cblas_sgemm` of whichever library was loaded
// first: of this one. A call whose alpha is MARK, a number next to one that nobody else sends, has weights in
// panels; all others go on to the BLAS. Weights (N, K) in panels of 32 outputs lie as (N / 32, K, 32): a product
// of few rows then reads memory from end to end, once, and brings nothing into another order, which is what most
// of its time goes to in a BLAS. Compiled at first use, for the processor that it runs on.

#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MARK 0x1.000002p0f
#define PLAIN 111 // CblasNoTrans

enum { PANEL = 32 };

// A tile of rows by a panel stays in registers: 32 of 16 floats, 16 of 8, or 32 of 4.
#if defined(__AVX512F__)
enum { LANES = 16, MOST_ROWS = 12 };
#elif defined(__AVX2__)
enum { LANES = 8, MOST_ROWS = 3 };
#else
enum { LANES = 4, MOST_ROWS = 3 };
#endif

enum {
  VECTORS = PANEL / LANES,
  AHEAD = 16 * PANEL,          // Weights that are asked for before they are needed: 2 KiB.
  BLOCK_FLOATS = 1 << 18,      // Inputs that are multiplied by a panel at a time: 1 MiB, which a core's cache holds.
  SPINS = 1000,                // A helper looks for work so often, some 20 us, before it sleeps.
  PATIENCE = 1000,             // And so often is a helper waited for before its core is given to it.
  CHUNKS_EACH = 4,             // Panels are handed out in so many parts for each thread.
};

typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));

#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#else
#define PAUSE() __asm__ volatile("yield")
#endif

typedef struct {
  size_t rows, outputs, inputs;
  size_t row_step, input_step, output_step; // From one row of `a`, input of a row, and row of `c` to the next.
  const float *a, *weights;
  float *c;
  size_t panels, chunk;         // How many there are, and are taken at a time.
  size_t first_row, block_rows; // The rows that are being multiplied.
} product;

#define TILE(R)                                                                                    \
  static void tile_##R(const product *p, const float *a, const float *w, float *c) {               \
    lanes sums[R][VECTORS];                                                                        \
    for (int r = 0; r < R; r++)                                                                    \
      for (int v = 0; v < VECTORS; v++) sums[r][v] = (lanes){0};                                   \
    for (size_t i = 0; i < p->inputs; i++, w += PANEL, a += p->input_step) {                       \
      lanes x[VECTORS];                                                                            \
      for (int v = 0; v < VECTORS; v++) x[v] = *(const lanes *)(w + v * LANES);                    \
      __builtin_prefetch(w + AHEAD);                                                               \
      __builtin_prefetch(w + AHEAD + PANEL / 2);                                                   \
      _Pragma("GCC unroll 12") for (int r = 0; r < R; r++)                                         \
        for (int v = 0; v < VECTORS; v++) sums[r][v] += a[r * p->row_step] * x[v];                 \
    }                                                                                              \
    for (int r = 0; r < R; r++)                                                                    \
      for (int v = 0; v < VECTORS; v++) *(lanes *)(c + r * p->output_step + v * LANES) = sums[r][v]; \
  }

TILE(1) TILE(2) TILE(3)
#if defined(__AVX512F__)
TILE(4) TILE(5) TILE(6) TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#endif

typedef void (*tile)(const product *, const float *, const float *, float *);
static const tile TILES[MOST_ROWS + 1] = {
    0, tile_1, tile_2, tile_3,
#if defined(__AVX512F__)
    tile_4, tile_5, tile_6, tile_7, tile_8, tile_9, tile_10, tile_11, tile_12,
#endif
};

// All rows of the block by one panel, in tiles of about the same size.
static void multiply_panel(const product *p, size_t place) {
  const float *w = p->weights + place * p->inputs * PANEL;
  size_t row = p->first_row, rest = p->block_rows;
  for (size_t tiles = (rest + MOST_ROWS - 1) / MOST_ROWS; tiles > 0; tiles--) {
    size_t rows = (rest + tiles - 1) / tiles;
    TILES[rows](p, p->a + row * p->row_step, w, p->c + row * p->output_step + place * PANEL);
    row += rows;
    rest -= rows;
  }
}

// One product at a time is shared. Who computes it takes panels like its helpers, so that it waits for none that
// sleeps: a core that builds the next step's graph meanwhile costs its help, and no more.
static product shared;
static atomic_size_t next_panel;
static atomic_uint state;   // OPEN while helpers may enter, and how many are in.
static atomic_uint epoch;   // Counts what was shared: what sleeping helpers wait on.
static atomic_uint sleepers;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static unsigned helpers;
#define OPEN 0x80000000u

static void take_panels(void) {
  for (;;) {
    size_t from = atomic_fetch_add(&next_panel, shared.chunk);
    if (from >= shared.panels) return;
    size_t to = from + shared.chunk < shared.panels ? from + shared.chunk : shared.panels;
    for (size_t place = from; place < to; place++) multiply_panel(&shared, place);
  }
}

// Helps until nothing is left, if something is open. Another helper that enters first is no reason to stay out.
static void take_part(void) {
  unsigned seen = atomic_load(&state);
  do {
    if (!(seen & OPEN)) return;
  } while (!atomic_compare_exchange_weak(&state, &seen, seen + 1));
  take_panels();
  atomic_fetch_sub(&state, 1);
}

static void *help(void *unused) {
  unsigned done = 0; // The epoch that is over for this helper: what is open may be taken to its end.
  for (;;) {
    unsigned now = atomic_load(&epoch);
    for (int spin = 0; spin < SPINS && now == done; spin++) {
      PAUSE();
      now = atomic_load(&epoch);
    }
    if (now != done) {
      done = now;
      take_part();
      continue;
    }
    atomic_fetch_add(&sleepers, 1);
    syscall(SYS_futex, &epoch, FUTEX_WAIT_PRIVATE, done, NULL, NULL, 0);
    atomic_fetch_sub(&sleepers, 1);
  }
  return unused;
}

static void share(const product *p) {
  shared = *p;
  shared.chunk = p->panels / (CHUNKS_EACH * (helpers + 1)) + 1;
  atomic_store(&next_panel, 0);
  atomic_store(&state, OPEN);
  atomic_fetch_add(&epoch, 1);
  if (atomic_load(&sleepers)) syscall(SYS_futex, &epoch, FUTEX_WAKE_PRIVATE, helpers, NULL, NULL, 0);
  take_panels();
  atomic_fetch_and(&state, ~OPEN);
  for (int spin = 0; atomic_load(&state); spin++) {
    if (spin < PATIENCE)
      PAUSE();
    else
      sched_yield();
  }
}

static void multiply(product p) {
  p.panels = p.outputs / PANEL;
  size_t most = BLOCK_FLOATS / (p.inputs ? p.inputs : 1);
  if (most < MOST_ROWS) most = MOST_ROWS;
  int is_shared = helpers > 0 && p.panels > 1 && pthread_mutex_trylock(&turn) == 0;
  for (; p.first_row < p.rows; p.first_row += p.block_rows) {
    size_t rest = p.rows - p.first_row;
    p.block_rows = rest < most ? rest : most;
    if (is_shared)
      share(&p);
    else
      for (size_t place = 0; place < p.panels; place++) multiply_panel(&p, place);
  }
  if (is_shared) pthread_mutex_unlock(&turn);
}

typedef void (*sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
static sgemm blas;

// Where all other products go, and how many threads compute those in panels. Called once, before any product.
void allod_panels_begin(sgemm others, unsigned threads) {
  blas = others;
  for (; helpers + 1 < threads; helpers++) {
    pthread_t helper;
    if (pthread_create(&helper, NULL, help, NULL)) break;
    pthread_detach(helper);
  }
}

void cblas_sgemm(int order, int transposed_a, int transposed_b, int m, int n, int k, float alpha, const float *a,
                 int lda, const float *b, int ldb, float beta, float *c, int ldc) {
  if (alpha != MARK) {
    blas(order, transposed_a, transposed_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    return;
  }
  int is_plain = transposed_a == PLAIN;
  multiply((product){
      .rows = m,
      .outputs = n,
      .inputs = k,
      .row_step = is_plain ? lda : 1,
      .input_step = is_plain ? 1 : lda,
      .output_step = ldc,
      .a = a,
      .weights = b,
      .c = c,
  });
}
