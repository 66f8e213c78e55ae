// Decoding: attention of single rows over their paths in the pool, and the choice of a token.

// Keys whose scores exist at the same time, one per thread.
#define CHUNK 256
#define LANES_OF_HEAD ((HEAD_DIM + WARP - 1) / WARP)

// Row r is at `position[r]` of the path that starts at `paths[path[r]]`, whose slots name keys and
// values in the pool (`[slots][key heads]`); it sees them all up to its own. Grid (rows, key
// heads); a block handles the query heads of the group. Dynamic memory: GROUP * (HEAD_DIM + CHUNK)
// floats.
extern "C" __global__ void __launch_bounds__(CHUNK) attend_paths(
    const float* heads, const float* pool_key, const float* pool_value, const unsigned* paths,
    const unsigned* path, const unsigned* position, float* attended, operand* rounded,
    int kv_heads, float scale
) {
    extern __shared__ float shared[];
    float* query = shared;                       // [GROUP][HEAD_DIM]
    float* score = query + GROUP * HEAD_DIM;     // [GROUP][CHUNK]
    __shared__ unsigned slots[CHUNK];
    __shared__ float most[GROUP], sum[GROUP], keep[GROUP];
    int row = blockIdx.x, kv = blockIdx.y, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int warps = CHUNK / WARP, width = kv_heads * GROUP * HEAD_DIM;
    size_t stride = width + 2 * kv_heads * HEAD_DIM, kv_width = kv_heads * HEAD_DIM;
    const unsigned* own_path = paths + path[row];
    int seen = position[row] + 1;
    const float* own = heads + row * stride + kv * GROUP * HEAD_DIM;
    for (int at = threadIdx.x; at < GROUP * HEAD_DIM; at += CHUNK) query[at] = own[at];
    if (threadIdx.x < GROUP) {
        most[threadIdx.x] = BELOW_ALL;
        sum[threadIdx.x] = 0;
    }
    float out[GROUP][LANES_OF_HEAD] = {};
    for (int begin = 0; begin < seen; begin += CHUNK) {
        __syncthreads();
        int at = begin + threadIdx.x, count = min(CHUNK, seen - begin);
        float dot[GROUP] = {};
        if (at < seen) {
            unsigned slot = own_path[at];
            slots[threadIdx.x] = slot;
            const float* key = pool_key + slot * kv_width + kv * HEAD_DIM;
#if HEAD_DIM % 4 == 0
#pragma unroll 4
            for (int d = 0; d < HEAD_DIM; d += 4) {
                float4 k = *(const float4*)(key + d);
#pragma unroll
                for (int g = 0; g < GROUP; g++) {
                    float4 q = *(const float4*)(query + g * HEAD_DIM + d);
                    dot[g] = dot4(q, k, dot[g]);
                }
            }
#else
            for (int d = 0; d < HEAD_DIM; d++) {
                for (int g = 0; g < GROUP; g++) {
                    dot[g] = fmaf(query[g * HEAD_DIM + d], key[d], dot[g]);
                }
            }
#endif
        }
        for (int g = 0; g < GROUP; g++) {
            score[g * CHUNK + threadIdx.x] = at < seen ? dot[g] * scale : BELOW_ALL;
        }
        __syncthreads();
        for (int g = warp; g < GROUP; g += warps) {
            float high = BELOW_ALL;
            for (int k = lane; k < CHUNK; k += WARP) high = fmaxf(high, score[g * CHUNK + k]);
            high = fmaxf(most[g], warp_most(high));
            float added = 0;
            for (int k = lane; k < CHUNK; k += WARP) {
                float part = expf(score[g * CHUNK + k] - high);
                score[g * CHUNK + k] = part;
                added += part;
            }
            added = warp_sum(added);
            __syncwarp();
            if (lane == 0) {
                keep[g] = expf(most[g] - high);
                sum[g] = sum[g] * keep[g] + added;
                most[g] = high;
            }
        }
        __syncthreads();
        for (int g = 0; g < GROUP; g++) {
            for (int part = 0; part < LANES_OF_HEAD; part++) out[g][part] *= keep[g];
        }
        for (int k = warp; k < count; k += warps) {
            const float* value = pool_value + slots[k] * kv_width + kv * HEAD_DIM;
#pragma unroll
            for (int part = 0; part < LANES_OF_HEAD; part++) {
                int d = lane + WARP * part;
                float own_value = HEAD_DIM % WARP == 0 || d < HEAD_DIM ? value[d] : 0.0f;
#pragma unroll
                for (int g = 0; g < GROUP; g++) {
                    out[g][part] = fmaf(score[g * CHUNK + k], own_value, out[g][part]);
                }
            }
        }
    }
    // The warps' parts, added one after the other, in the memory of the query.
    for (int turn = 0; turn < warps; turn++) {
        __syncthreads();
        if (turn != warp) continue;
        for (int g = 0; g < GROUP; g++) {
            for (int part = 0; part < LANES_OF_HEAD; part++) {
                int d = lane + WARP * part;
                if (d >= HEAD_DIM) continue;
                float before = turn == 0 ? 0.0f : query[g * HEAD_DIM + d];
                query[g * HEAD_DIM + d] = before + out[g][part];
            }
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < GROUP * HEAD_DIM; at += CHUNK) {
        float value = query[at] / sum[at / HEAD_DIM];
        size_t to = (size_t)row * width + kv * GROUP * HEAD_DIM + at;
        attended[to] = value;
        if (rounded) rounded[to] = as_operand(value);
    }
}

// Tokens whose masses are summed together before the walk through them.
#define RUN 1024

// Draws a token of each row of logits by the inverse of the cumulative distribution, or takes the
// likeliest where the temperature is 0; `logprob` is that of the tempered distribution (of the
// one at temperature 1 where greedy). One block of whole warps per row; dynamic memory: one f64
// per run of RUN tokens.
extern "C" __global__ void draw_tokens(
    const float* logits, const float* temperature, const double* uniform, int vocabulary,
    unsigned* token, float* logprob
) {
    extern __shared__ double run_sum[];
    __shared__ int best_of[WARP];
    const float* row = logits + (size_t)blockIdx.x * vocabulary;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    float wanted = temperature[blockIdx.x], divisor = wanted == 0.0f ? 1.0f : wanted;
    float high = BELOW_ALL;
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        high = fmaxf(high, row[at] / divisor);
    }
    float most = block_most(high);
    int runs = (vocabulary + RUN - 1) / RUN;
    int best = vocabulary;
    for (int run = warp; run < runs; run += warps) {
        double mass = 0;
        for (int at = run * RUN + lane; at < min(vocabulary, (run + 1) * RUN); at += WARP) {
            float tempered = row[at] / divisor;
            mass += expf(tempered - most);
            if (tempered == most) best = min(best, at);
        }
        mass = warp_sum(mass);
        if (lane == 0) run_sum[run] = mass;
    }
    for (int far = WARP / 2; far > 0; far /= 2) best = min(best, __shfl_xor_sync(FULL, best, far));
    if (lane == 0) best_of[warp] = best;
    __syncthreads();
    if (warp > 0) return;
    double total = 0;
    for (int run = 0; run < runs; run++) total += run_sum[run];
    int answer = 0;
    if (wanted == 0.0f) {
        answer = best_of[0];
        for (int at = 1; at < warps; at++) answer = min(answer, best_of[at]);
        answer = min(answer, vocabulary - 1);
    } else {
        // Every lane walks the runs alike; inside the one that crosses the goal, 32 at a time.
        double goal = uniform[blockIdx.x] * total, before = 0;
        int run = 0;
        while (run < runs - 1 && !(before + run_sum[run] > goal)) before += run_sum[run++];
        int last = -1;
        answer = -1;
        for (int base = run * RUN; base < vocabulary && answer < 0; base += WARP) {
            int at = base + lane;
            float part = at < vocabulary ? expf(row[at] / divisor - most) : 0.0f;
            double upto = part;
            for (int far = 1; far < WARP; far *= 2) {
                double left = __shfl_up_sync(FULL, upto, far);
                if (lane >= far) upto += left;
            }
            unsigned massive = __ballot_sync(FULL, part > 0.0f);
            unsigned past = __ballot_sync(FULL, part > 0.0f && before + upto > goal);
            if (past) answer = base + __ffs(past) - 1;
            if (massive) last = base + 31 - __clz(massive);
            before += __shfl_sync(FULL, upto, WARP - 1);
        }
        // Rounding can leave the goal beyond all mass: then the last token that has some.
        for (int base = run * RUN; answer < 0 && last < 0 && base > 0; base -= WARP) {
            int at = base - WARP + lane;
            bool has = at >= 0 && expf(row[max(at, 0)] / divisor - most) > 0.0f;
            unsigned massive = __ballot_sync(FULL, has);
            if (massive) last = base - WARP + 31 - __clz(massive);
        }
        if (answer < 0) answer = max(last, 0);
    }
    if (lane == 0) {
        token[blockIdx.x] = answer;
        logprob[blockIdx.x] = (row[answer] / divisor - most) - (float)log(total);
    }
}
