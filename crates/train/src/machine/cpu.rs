//! The processor.

use stepwell_model::{
    AdamW, AdamWSettings, Config, Decoder, Finished, Gradients, Guide, Model, OtherModel, Packed,
    Prefix, RowSeeds, SampleRequest, Scored, TokenScores, Workspace,
};

use super::sampler::{Decide, Draw};
use super::{
    Decodes, DeviceError, Machine, Numbered, OfRows, Restored, Sampler, Seal, Seeds, Tensors,
};
use crate::{LearnerState, Reference};

pub(crate) struct Cpu {
    model: Model,
    optimizer: AdamW,
    gradients: Gradients,
    workspace: Workspace,
    threads: usize,
}

/// Sampler and trainer run the same code: a gap is a fault, whatever its size.
const GAP_MAX: f64 = 0.0;

impl Cpu {
    pub(crate) fn new(model: Model, threads: usize) -> Self {
        Cpu {
            optimizer: AdamW::new(&model),
            gradients: Gradients::zeros_like(&model),
            workspace: Workspace::new(threads),
            model,
            threads,
        }
    }
}

impl Machine for Cpu {
    fn model(&self) -> &Model {
        &self.model
    }

    fn config(&self) -> &Config {
        self.model.config()
    }

    fn seal(&self) -> Seal {
        self.model.fingerprint(self.threads).map_or(Seal::Broken, Seal::Sum)
    }

    fn gap_max(&self) -> f64 {
        GAP_MAX
    }

    fn set_activation_budget(&mut self, bytes: Option<usize>) {
        self.workspace.set_activation_budget(bytes);
    }

    fn forward(&mut self, packed: &Packed, scored: &Scored) -> Result<TokenScores, DeviceError> {
        Ok(self.workspace.forward(&self.model, packed, scored))
    }

    fn states(&mut self, row: &[u32]) -> Result<Vec<f32>, DeviceError> {
        Ok(self.workspace.states(&self.model, row))
    }

    fn backward(
        &mut self,
        packed: &Packed,
        scored: &Scored,
        seeds: Seeds<'_>,
    ) -> Result<(), DeviceError> {
        let Cpu { model, workspace, gradients, .. } = self;
        let scores = (seeds.d_logprob, seeds.d_entropy);
        workspace.backward_with_states(model, packed, scored, scores, seeds.states, gradients);
        Ok(())
    }

    fn backward_rows(
        &mut self,
        packed: &Packed,
        scored: &Scored,
        seeds: Seeds<'_>,
        rows: OfRows<'_>,
    ) -> Result<Vec<f64>, DeviceError> {
        let Cpu { model, workspace, gradients, .. } = self;
        let Reference::Weights(teacher) = rows.teacher else {
            return Err(DeviceError::adapter_teaches());
        };
        let other = Some(OtherModel { model: teacher, states: rows.states });
        let of_rows = Some(RowSeeds { of_row: rows.of_row, other });
        let scores = ((seeds.d_logprob, seeds.d_entropy), of_rows);
        let value =
            workspace.backward_with_rows(model, packed, scored, scores, seeds.states, gradients);
        Ok(value)
    }

    fn reference_states(
        &mut self,
        reference: &Reference,
        packed: &Packed,
        scored: &Scored,
    ) -> Result<(TokenScores, Vec<f32>), DeviceError> {
        let Reference::Weights(model) = reference else {
            return Err(DeviceError::adapter_teaches());
        };
        let scores = self.workspace.forward(model, packed, scored);
        Ok((scores, self.workspace.states(model, scored.row)))
    }

    fn take_reference(&mut self, _: &Reference) -> Result<(), DeviceError> {
        Ok(())
    }

    fn score_reference(
        &mut self,
        reference: &Reference,
        packed: &Packed,
        scored: &Scored,
    ) -> Result<TokenScores, DeviceError> {
        let Cpu { model: own, workspace, .. } = self;
        match reference {
            Reference::Weights(model) => Ok(workspace.forward(model, packed, scored)),
            Reference::Adapter(frozen) => {
                let policy = own.detach();
                own.attach((**frozen).clone()).expect("it was frozen on this base");
                let scores = workspace.forward(own, packed, scored);
                own.detach();
                if let Some(policy) = policy {
                    own.attach(policy).expect("it was attached before");
                }
                Ok(scores)
            }
        }
    }

    fn trained(&self) -> Result<Vec<f32>, DeviceError> {
        self.model.trained().map(<[f32]>::to_vec).ok_or_else(DeviceError::not_f32)
    }

    fn set_trained(&mut self, weights: &[f32]) -> Result<(), DeviceError> {
        let own = self.model.trained_mut().ok_or_else(DeviceError::not_f32)?;
        own.copy_from_slice(weights);
        Ok(())
    }

    fn gradient(&self) -> Result<Vec<f32>, DeviceError> {
        Ok(self.gradients.values().to_vec())
    }

    fn clear_gradients(&mut self) -> Result<(), DeviceError> {
        self.gradients.clear();
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f64, DeviceError> {
        Ok(self.gradients.norm())
    }

    fn scale_gradients(&mut self, factor: f32) -> Result<(), DeviceError> {
        self.gradients.scale(factor);
        Ok(())
    }

    fn non_finite_gradient(&mut self) -> Result<Option<String>, DeviceError> {
        Ok(self.gradients.non_finite())
    }

    fn step(&mut self, settings: &AdamWSettings) -> Result<(), DeviceError> {
        let Cpu { model, optimizer, gradients, threads, .. } = self;
        optimizer.step(model, gradients, settings, *threads);
        if stepwell_mutant::planted(39)
            && let Some(weight) = model.trained_mut().and_then(<[f32]>::first_mut)
        {
            *weight = f32::NAN;
        }
        Ok(())
    }

    fn reset_optimizer(&mut self) -> Result<(), DeviceError> {
        self.optimizer = AdamW::new(&self.model);
        Ok(())
    }

    fn optimizer(&self) -> (u64, Tensors) {
        (self.optimizer.step_count(), self.optimizer.tensors())
    }

    fn restore(&mut self, weights: Restored, state: &LearnerState) -> Result<(), String> {
        weights.into_model(&mut self.model)?;
        if stepwell_mutant::planted(12) {
            return Ok(());
        }
        let step = state.optimizer_step + u64::from(stepwell_mutant::planted(11));
        let restored = self.optimizer.restore(step, &state.optimizer);
        restored.map_err(|e| e.to_string())
    }

    fn sampler<'m>(&'m self, guide: Option<Guide<'m>>) -> Box<dyn Sampler + 'm> {
        let decoder = Decoder::new(self.threads);
        Box::new(Numbered::new(OnCpu { model: &self.model, guide, decoder }))
    }
}

/// A decoder and the weights it reads.
struct OnCpu<'m> {
    model: &'m Model,
    guide: Option<Guide<'m>>,
    decoder: Decoder,
}

impl Decodes for OnCpu<'_> {
    type Prefix = Prefix;

    fn extend_many(&mut self, steps: &[(Option<Prefix>, Vec<u32>)]) -> Vec<Prefix> {
        #[cfg(debug_assertions)]
        if stepwell_mutant::planted(8) {
            return self.extend_from_cache(steps);
        }
        self.decoder.extend_many(self.model, steps)
    }

    fn begin(&mut self, id: u64, parent: &Prefix, request: SampleRequest) {
        self.decoder.begin(id, parent, request);
    }

    fn advance(&mut self, draw: Draw<'_>, decide: Decide<'_>) -> Vec<Finished> {
        self.decoder.advance_led(self.model, self.guide.as_ref(), draw, decide)
    }
}

/// The planted bug of a cache of prompts that survives the weights that filled it.
#[cfg(debug_assertions)]
impl OnCpu<'_> {
    fn extend_from_cache(&mut self, steps: &[(Option<Prefix>, Vec<u32>)]) -> Vec<Prefix> {
        use std::cell::RefCell;
        use std::collections::BTreeMap;
        thread_local! {
            static CACHE: RefCell<BTreeMap<Vec<u32>, Prefix>> = RefCell::default();
        }
        let one = |step: &(Option<Prefix>, Vec<u32>)| {
            let held = || CACHE.with_borrow(|cache| cache.get(&step.1).cloned());
            if let (None, Some(stale)) = (&step.0, held()) {
                return stale;
            }
            let fresh = self.decoder.extend_many(self.model, std::slice::from_ref(step)).remove(0);
            if step.0.is_none() {
                CACHE.with_borrow_mut(|cache| cache.insert(step.1.clone(), fresh.clone()));
            }
            fresh
        };
        steps.iter().map(one).collect()
    }
}
