//! The smallest recipes that train: a run of a few updates in a fraction of a second.

/// A tiny model, with what a case adds to it, a tiny world, and a supervised stage of two updates.
pub(crate) fn head(model: &str) -> String {
    format!(
        "seed = 3\n[model.scratch]\nhidden = 8\nlayers = 1\nheads = 2\n{model}\
         [environment]\ntype = \"sql\"\nmax_interactions = 1\n\
         [environment.world]\ntrain_databases = 3\ndevelopment_databases = 1\n\
         held_out_databases = 1\nquestions = 2\n\
         [[stage]]\n[stage.sft]\ndemonstrations = \"scripted\"\nsteps = 2\nbatch = 2\n\
         learning_rate = 1e-2\nwarmup_steps = 1\n"
    )
}

/// A stage of these updates that grows trees for two tasks, a checkpoint after each update.
pub(crate) fn stage(kind: &str, steps: usize, more: &str) -> String {
    format!(
        "[[stage]]\n[stage.{kind}]\nsteps = {steps}\ntasks = 2\nmax_tokens = 8\n\
         learning_rate = 1e-2\nwarmup_steps = 1\ncheckpoint_every = 1\n{more}\n"
    )
}
