// Tree attention over a packed forest, forward and backward, in f32.
//
// Row i sees row j <= i if and only if i < subtree_end[j]: the whole mask. A tile is QUERIES rows
// of one query head against KEYS rows of its key head; `last_seen[b]` is the largest subtree end
// of the keys in block b, so a block whose last seen row lies before the queries is skipped.
//
// 16 x 16 threads: thread (x, y) holds the scores of rows y * QR.. and keys x, x + 16, ...

#define SIDE 16
#define THREADS (SIDE * SIDE)
#define QR (QUERIES / SIDE)
#define KR (KEYS / SIDE)
// A head's row in shared memory: whole fours, and four more so that rows fall on other banks.
#define PADDED ((HEAD_DIM + 3) / 4 * 4)
#define LINE (PADDED + 4)
#define SCORES (KEYS + 4)
// Fours of a head that one thread holds.
#define FOURS (PADDED / 4)
#define OWN ((FOURS + SIDE - 1) / SIDE)

// Rows first..first + count of a matrix with this stride, one head of them; zeros outside.
template <int COUNT>
__device__ __forceinline__ void load_tile(
    float* to, const float* from, size_t stride, int first, int rows
) {
#if HEAD_DIM % 4 == 0
    for (int at = threadIdx.x; at < COUNT * FOURS; at += THREADS) {
        int row = at / FOURS, four = at % FOURS;
        float4 value = make_float4(0, 0, 0, 0);
        if (first + row < rows) value = *(const float4*)(from + (first + row) * stride + 4 * four);
        *(float4*)(to + row * LINE + 4 * four) = value;
    }
#else
    for (int at = threadIdx.x; at < COUNT * PADDED; at += THREADS) {
        int row = at / PADDED, column = at % PADDED;
        bool inside = first + row < rows && column < HEAD_DIM;
        to[row * LINE + column] = inside ? from[(first + row) * stride + column] : 0.0f;
    }
#endif
}

__device__ __forceinline__ float dot4(float4 a, float4 b, float sum) {
    return fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, sum))));
}

__device__ __forceinline__ void add_times(float4* sum, float factor, float4 value) {
    sum->x = fmaf(factor, value.x, sum->x);
    sum->y = fmaf(factor, value.y, sum->y);
    sum->z = fmaf(factor, value.z, sum->z);
    sum->w = fmaf(factor, value.w, sum->w);
}

__device__ __forceinline__ void add_tile_scores(
    const float* query, const float* key, int x, int y, float sum[QR][KR]
) {
#pragma unroll 4
    for (int at = 0; at < PADDED; at += 4) {
        float4 left[QR], right[KR];
#pragma unroll
        for (int i = 0; i < QR; i++) left[i] = *(const float4*)(query + (y * QR + i) * LINE + at);
#pragma unroll
        for (int j = 0; j < KR; j++) right[j] = *(const float4*)(key + (x + SIDE * j) * LINE + at);
#pragma unroll
        for (int i = 0; i < QR; i++) {
#pragma unroll
            for (int j = 0; j < KR; j++) sum[i][j] = dot4(left[i], right[j], sum[i][j]);
        }
    }
}

// sum[i][.] += weights[y * QR + i][key] * rows[key], over the keys of a tile.
__device__ __forceinline__ void add_weighted_rows(
    const float* weights, const float* rows, int x, int y, float4 sum[QR][OWN]
) {
#pragma unroll 2
    for (int key = 0; key < KEYS; key += 4) {
        float4 weight[QR];
#pragma unroll
        for (int i = 0; i < QR; i++) {
            weight[i] = *(const float4*)(weights + (y * QR + i) * SCORES + key);
        }
#pragma unroll
        for (int own = 0; own < OWN; own++) {
            int four = x + SIDE * own;
            if (FOURS % SIDE != 0 && four >= FOURS) continue;
            const float* from = rows + key * LINE + 4 * four;
            float4 value[4];
#pragma unroll
            for (int k = 0; k < 4; k++) value[k] = *(const float4*)(from + k * LINE);
#pragma unroll
            for (int i = 0; i < QR; i++) {
                add_times(&sum[i][own], weight[i].x, value[0]);
                add_times(&sum[i][own], weight[i].y, value[1]);
                add_times(&sum[i][own], weight[i].z, value[2]);
                add_times(&sum[i][own], weight[i].w, value[3]);
            }
        }
    }
}

// Writes one thread's fours of a row to memory.
__device__ __forceinline__ void store_fours(float* row, const float4* value, float by, int x) {
#pragma unroll
    for (int own = 0; own < OWN; own++) {
        int at = 4 * (x + SIDE * own);
        float part[4] = {value[own].x, value[own].y, value[own].z, value[own].w};
#pragma unroll
        for (int k = 0; k < 4; k++) {
            if (at + k < HEAD_DIM) row[at + k] = part[k] * by;
        }
    }
}

__device__ __forceinline__ float across_most(float value) {
    for (int far = SIDE / 2; far > 0; far /= 2) {
        value = fmaxf(value, __shfl_xor_sync(FULL, value, far));
    }
    return value;
}

__device__ __forceinline__ float across_sum(float value) {
    for (int far = SIDE / 2; far > 0; far /= 2) value += __shfl_xor_sync(FULL, value, far);
    return value;
}

// heads `[rows][query, key, value]` to attended `[rows][query]` and its operands, and log_sum
// `[query heads][rows]`: the logarithm of each row's sum of exponentials. Grid (query blocks,
// query heads); the longest paths start first.
extern "C" __global__ void __launch_bounds__(THREADS) attend(
    const float* heads, const unsigned* subtree_end, const unsigned* last_seen, float* attended,
    operand* rounded, float* log_sum, int rows, int kv_heads, float scale
) {
    extern __shared__ float shared[];
    float* query = shared;
    float* key = query + QUERIES * LINE;
    float* value = key + KEYS * LINE;
    float* weight = value + KEYS * LINE;
    __shared__ unsigned end[KEYS];
    int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    int head = blockIdx.y, kv = head / GROUP, width = kv_heads * GROUP * HEAD_DIM;
    size_t stride = width + 2 * kv_heads * HEAD_DIM;
    int first = (gridDim.x - 1 - blockIdx.x) * QUERIES;
    load_tile<QUERIES>(query, heads + head * HEAD_DIM, stride, first, rows);
    float most[QR], sum[QR];
    float4 out[QR][OWN];
    for (int i = 0; i < QR; i++) {
        most[i] = BELOW_ALL;
        sum[i] = 0;
        for (int own = 0; own < OWN; own++) out[i][own] = make_float4(0, 0, 0, 0);
    }
    int limit = min(rows, first + QUERIES);
    for (int begin = 0; begin < limit; begin += KEYS) {
        if (last_seen[begin / KEYS] <= first) continue;
        __syncthreads();
        load_tile<KEYS>(key, heads + width + kv * HEAD_DIM, stride, begin, rows);
        load_tile<KEYS>(value, heads + width + (kv_heads + kv) * HEAD_DIM, stride, begin, rows);
        if (threadIdx.x < KEYS) {
            int at = begin + threadIdx.x;
            end[threadIdx.x] = at < rows ? subtree_end[at] : 0;
        }
        __syncthreads();
        float score[QR][KR] = {};
        add_tile_scores(query, key, x, y, score);
#pragma unroll
        for (int i = 0; i < QR; i++) {
            int row = first + y * QR + i;
            float own = BELOW_ALL;
#pragma unroll
            for (int j = 0; j < KR; j++) {
                int at = begin + x + SIDE * j;
                bool sees = at <= row && end[x + SIDE * j] > (unsigned)row;
                score[i][j] = sees ? score[i][j] * scale : BELOW_ALL;
                own = fmaxf(own, score[i][j]);
            }
            float now = fmaxf(most[i], across_most(own));
            bool any = now > BELOW_ALL;
            float keep = any ? expf(most[i] - now) : 1.0f;
            float added = 0;
#pragma unroll
            for (int j = 0; j < KR; j++) {
                float part = any ? expf(score[i][j] - now) : 0.0f;
                added += part;
                weight[(y * QR + i) * SCORES + x + SIDE * j] = part;
            }
            sum[i] = sum[i] * keep + across_sum(added);
            most[i] = now;
#pragma unroll
            for (int own = 0; own < OWN; own++) {
                out[i][own].x *= keep;
                out[i][own].y *= keep;
                out[i][own].z *= keep;
                out[i][own].w *= keep;
            }
        }
        // A warp reads only the weights that it wrote.
        __syncwarp();
        add_weighted_rows(weight, value, x, y, out);
    }
    for (int i = 0; i < QR; i++) {
        int row = first + y * QR + i;
        if (row >= rows) continue;
        float inverse = 1.0f / sum[i];
        size_t to = (size_t)row * width + head * HEAD_DIM;
        store_fours(attended + to, out[i], inverse, x);
        if (rounded) {
            for (int own = 0; own < OWN; own++) {
                int at = 4 * (x + SIDE * own);
                float part[4] = {out[i][own].x, out[i][own].y, out[i][own].z, out[i][own].w};
                for (int k = 0; k < 4; k++) {
                    if (at + k < HEAD_DIM) rounded[to + at + k] = as_operand(part[k] * inverse);
                }
            }
        }
        if (x == 0 && log_sum) log_sum[(size_t)head * rows + row] = most[i] + logf(sum[i]);
    }
}

// mean[head][row] = the sum of attended * d_attended over the head: one warp per head of a row.
extern "C" __global__ void attended_dot(
    const float* attended, const float* d_attended, float* mean, int rows, int heads
) {
    long long one = ((long long)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    int lane = threadIdx.x % WARP;
    if (one >= (long long)rows * heads) return;
    size_t from = (size_t)one * HEAD_DIM;
    float sum = 0;
    for (int at = lane; at < HEAD_DIM; at += WARP) {
        sum = fmaf(attended[from + at], d_attended[from + at], sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) mean[(size_t)(one % heads) * rows + one / heads] = sum;
}

// What the gradients by queries and by keys need of one pair of tiles: softmax weights p and
// gradients by scores, p (dp - mean) scale; zero where the row does not see the key.
__device__ __forceinline__ void grad_scores(
    const float* query, const float* key, const float* value, const float* d_out,
    const unsigned* end, const float* log_sum, const float* mean, int first, int begin, int rows,
    float scale, float* weight, float* d_score
) {
    int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    float score[QR][KR] = {}, d_weight[QR][KR] = {};
    add_tile_scores(query, key, x, y, score);
    add_tile_scores(d_out, value, x, y, d_weight);
#pragma unroll
    for (int i = 0; i < QR; i++) {
        int row = first + y * QR + i;
        bool inside = row < rows;
        float log = inside ? log_sum[row] : 0.0f, by = inside ? mean[row] : 0.0f;
#pragma unroll
        for (int j = 0; j < KR; j++) {
            int at = begin + x + SIDE * j;
            bool sees = inside && at <= row && end[x + SIDE * j] > (unsigned)row;
            float part = sees ? expf(score[i][j] * scale - log) : 0.0f;
            int to = (y * QR + i) * SCORES + x + SIDE * j;
            if (weight) weight[to] = part;
            d_score[to] = part * (d_weight[i][j] - by) * scale;
        }
    }
}

// The gradient by queries, into the queries of d_heads. Grid as of `attend`.
extern "C" __global__ void __launch_bounds__(THREADS) query_grad(
    const float* heads, const float* d_attended, const float* log_sum, const float* mean,
    const unsigned* subtree_end, const unsigned* last_seen, float* d_heads,
    int rows, int kv_heads, float scale
) {
    extern __shared__ float shared[];
    float* query = shared;
    float* d_out = query + QUERIES * LINE;
    float* key = d_out + QUERIES * LINE;
    float* value = key + KEYS * LINE;
    float* d_score = value + KEYS * LINE;
    __shared__ unsigned end[KEYS];
    int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    int head = blockIdx.y, kv = head / GROUP, width = kv_heads * GROUP * HEAD_DIM;
    size_t stride = width + 2 * kv_heads * HEAD_DIM;
    int first = (gridDim.x - 1 - blockIdx.x) * QUERIES;
    load_tile<QUERIES>(query, heads + head * HEAD_DIM, stride, first, rows);
    load_tile<QUERIES>(d_out, d_attended + head * HEAD_DIM, width, first, rows);
    log_sum += (size_t)head * rows;
    mean += (size_t)head * rows;
    float4 sum[QR][OWN];
    for (int i = 0; i < QR; i++) {
        for (int own = 0; own < OWN; own++) sum[i][own] = make_float4(0, 0, 0, 0);
    }
    int limit = min(rows, first + QUERIES);
    for (int begin = 0; begin < limit; begin += KEYS) {
        if (last_seen[begin / KEYS] <= first) continue;
        __syncthreads();
        load_tile<KEYS>(key, heads + width + kv * HEAD_DIM, stride, begin, rows);
        load_tile<KEYS>(value, heads + width + (kv_heads + kv) * HEAD_DIM, stride, begin, rows);
        if (threadIdx.x < KEYS) {
            int at = begin + threadIdx.x;
            end[threadIdx.x] = at < rows ? subtree_end[at] : 0;
        }
        __syncthreads();
        grad_scores(
            query, key, value, d_out, end, log_sum, mean, first, begin, rows, scale, 0, d_score
        );
        __syncwarp();
        add_weighted_rows(d_score, key, x, y, sum);
    }
    for (int i = 0; i < QR; i++) {
        int row = first + y * QR + i;
        if (row < rows) store_fours(d_heads + row * stride + head * HEAD_DIM, sum[i], 1.0f, x);
    }
}

// sum[i][.] += weights[row][y * KR + i] * rows[row], over the rows of a tile.
__device__ __forceinline__ void add_to_keys(
    const float* weights, const float* rows, int x, int y, float4 sum[KR][OWN]
) {
#pragma unroll 4
    for (int row = 0; row < QUERIES; row++) {
        float weight[KR];
#pragma unroll
        for (int i = 0; i < KR; i++) weight[i] = weights[row * SCORES + y * KR + i];
#pragma unroll
        for (int own = 0; own < OWN; own++) {
            int four = x + SIDE * own;
            if (FOURS % SIDE != 0 && four >= FOURS) continue;
            float4 value = *(const float4*)(rows + row * LINE + 4 * four);
#pragma unroll
            for (int i = 0; i < KR; i++) add_times(&sum[i][own], weight[i], value);
        }
    }
}

// The gradients by keys and values of each query head, `[rows][query heads]` each; those of a
// group are added later. Grid (key blocks, query heads).
extern "C" __global__ void __launch_bounds__(THREADS) key_grad(
    const float* heads, const float* d_attended, const float* log_sum, const float* mean,
    const unsigned* subtree_end, const unsigned* last_seen, float* d_key, float* d_value,
    int rows, int kv_heads, float scale
) {
    extern __shared__ float shared[];
    float* query = shared;
    float* d_out = query + QUERIES * LINE;
    float* key = d_out + QUERIES * LINE;
    float* value = key + KEYS * LINE;
    float* weight = value + KEYS * LINE;
    float* d_score = weight + QUERIES * SCORES;
    __shared__ unsigned end[KEYS];
    int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
    int head = blockIdx.y, kv = head / GROUP, width = kv_heads * GROUP * HEAD_DIM;
    size_t stride = width + 2 * kv_heads * HEAD_DIM;
    int begin = blockIdx.x * KEYS;
    load_tile<KEYS>(key, heads + width + kv * HEAD_DIM, stride, begin, rows);
    load_tile<KEYS>(value, heads + width + (kv_heads + kv) * HEAD_DIM, stride, begin, rows);
    if (threadIdx.x < KEYS) {
        int at = begin + threadIdx.x;
        end[threadIdx.x] = at < rows ? subtree_end[at] : 0;
    }
    log_sum += (size_t)head * rows;
    mean += (size_t)head * rows;
    float4 by_key[KR][OWN], by_value[KR][OWN];
    for (int i = 0; i < KR; i++) {
        for (int own = 0; own < OWN; own++) {
            by_key[i][own] = make_float4(0, 0, 0, 0);
            by_value[i][own] = make_float4(0, 0, 0, 0);
        }
    }
    int limit = min((unsigned)rows, last_seen[blockIdx.x]);
    for (int first = begin / QUERIES * QUERIES; first < limit; first += QUERIES) {
        __syncthreads();
        load_tile<QUERIES>(query, heads + head * HEAD_DIM, stride, first, rows);
        load_tile<QUERIES>(d_out, d_attended + head * HEAD_DIM, width, first, rows);
        __syncthreads();
        grad_scores(
            query, key, value, d_out, end, log_sum, mean, first, begin, rows, scale, weight, d_score
        );
        __syncthreads();
        add_to_keys(weight, d_out, x, y, by_value);
        add_to_keys(d_score, query, x, y, by_key);
    }
    for (int i = 0; i < KR; i++) {
        int row = begin + y * KR + i;
        if (row >= rows) continue;
        size_t to = (size_t)row * width + head * HEAD_DIM;
        store_fours(d_key + to, by_key[i], 1.0f, x);
        store_fours(d_value + to, by_value[i], 1.0f, x);
    }
}
