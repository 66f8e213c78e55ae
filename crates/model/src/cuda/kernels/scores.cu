// Log-probability and entropy at scored positions, and the gradient by their logits. One block
// per position; logits are `[positions][vocabulary]` before any temperature.

// The largest tempered logit and the logarithm of the sum of exponentials.
struct normaliser { float most, log_sum, inverse, entropy; };

extern "C" __global__ void score_rows(
    const float* logits, const unsigned* target, float temperature, int vocabulary,
    float* logprob, float* entropy, normaliser* kept
) {
    const float* row = logits + (size_t)blockIdx.x * vocabulary;
    float most = BELOW_ALL;
    bool broken = false;
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        most = fmaxf(most, row[at] / temperature);
        broken |= row[at] != row[at];
    }
    most = block_most(most);
    double sum = 0, weighted = 0;
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        float far = row[at] / temperature - most;
        float part = expf(far);
        sum += part;
        // An impossible token adds nothing: 0 times minus infinity would be no number.
        if (part > 0) weighted += (double)part * far;
    }
    sum = block_sum(sum);
    weighted = block_sum(weighted);
    // A maximum passes over what is no number; the sum must not.
    if (__syncthreads_or(broken)) sum = __longlong_as_double(0x7ff8000000000000ll);
    if (threadIdx.x > 0) return;
    float log_sum = (float)log(sum);
    float own = (float)(log(sum) - weighted / sum);
    logprob[blockIdx.x] = (row[target[blockIdx.x]] / temperature - most) - log_sum;
    entropy[blockIdx.x] = own;
    kept[blockIdx.x] = {most, log_sum, (float)(1.0 / sum), own};
}

// (d_logprob (1 at the target - p) - d_entropy p (ln p + H)) / temperature, as operands.
extern "C" __global__ void score_grad(
    const float* logits, const unsigned* target, float temperature, int vocabulary,
    const normaliser* kept, const float* d_logprob, const float* d_entropy, operand* d_logits
) {
    size_t row = (size_t)blockIdx.x * vocabulary;
    normaliser own = kept[blockIdx.x];
    float by_logprob = d_logprob[blockIdx.x], by_entropy = d_entropy[blockIdx.x];
    float shift = own.entropy - own.log_sum - own.most, over = 1.0f / temperature;
    int wanted = target[blockIdx.x];
    for (int at = threadIdx.x; at < vocabulary; at += blockDim.x) {
        float logit = logits[row + at] / temperature;
        float probability = expf(logit - own.most) * own.inverse;
        float value = -(probability * fmaf(by_entropy, logit + shift, by_logprob)) * over;
        if (at == wanted) value += by_logprob * over;
        d_logits[row + at] = as_operand(value);
    }
}
