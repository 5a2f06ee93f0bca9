//! A step of training: the schedule of the learning rate, clipping, AdamW.

use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};

/// Linear warm-up from 0, then half a cosine down to `floor` of the peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// Steps of the warm-up.
    pub warmup: usize,
    /// Steps in all.
    pub steps: usize,
    /// The last learning rate as a part of the highest.
    pub floor: f64,
}

impl Schedule {
    /// The learning rate of a step, counted from 0.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let length = self.steps.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / length).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.peak * (self.floor + (1.0 - self.floor) * cosine)
    }
}

/// Scales all gradients together so that their joint norm is at most `largest`. Returns the norm before.
pub fn clip(grads: &mut GradStore, vars: &[Var], largest: f64) -> Result<f64> {
    let mut square = 0.0;
    for var in vars {
        if let Some(grad) = grads.get(var) {
            let sum = grad.to_dtype(DType::F32)?.sqr()?.sum_all()?;
            square += f64::from(sum.to_scalar::<f32>()?);
        }
    }
    let norm = square.sqrt();
    if norm > largest {
        for var in vars {
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, (grad * (largest / norm))?);
            }
        }
    }
    Ok(norm)
}

/// AdamW in two groups: matrices decay, everything else (biases, norms, the filters' networks) does not.
pub struct Groups {
    decaying: AdamW,
    others: AdamW,
}

impl Groups {
    /// Sorts the variables by their names.
    pub fn new(vars: &[(String, Var)], weight_decay: f64) -> Result<Self> {
        let (decaying, others): (Vec<_>, Vec<_>) = vars.iter().partition(|(name, _)| decays(name));
        let optimizer = |group: Vec<&(String, Var)>, weight_decay| {
            let vars = group.into_iter().map(|(_, var)| var.clone()).collect();
            let params = ParamsAdamW {
                weight_decay,
                beta2: 0.99,
                ..ParamsAdamW::default()
            };
            AdamW::new(vars, params)
        };
        Ok(Self {
            decaying: optimizer(decaying, weight_decay)?,
            others: optimizer(others, 0.0)?,
        })
    }

    /// Takes one step.
    pub fn step(&mut self, grads: &GradStore, rate: f64) -> Result<()> {
        for group in [&mut self.decaying, &mut self.others] {
            group.set_learning_rate(rate);
            group.step(grads)?;
        }
        Ok(())
    }
}

/// Whether weight decay applies to a variable.
fn decays(name: &str) -> bool {
    [
        "in_proj.weight",
        "out_proj.weight",
        "fc1.weight",
        "fc2.weight",
    ]
    .iter()
    .any(|suffix| name.ends_with(suffix))
}

/// Mean `−log2 p` of `targets` `(batch, length)`, without those where `mask` is 0.
pub fn loss(logits: &Tensor, targets: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let log_p = candle_nn::ops::log_softmax(logits, candle_core::D::Minus1)?
        .gather(&targets.unsqueeze(2)?, 2)?
        .squeeze(2)?;
    let sum = (log_p * mask)?.sum_all()?;
    // A batch of N alone has no loss, rather than 0 / 0.
    let count = f64::from(mask.sum_all()?.to_scalar::<f32>()?).max(1.0);
    Ok((sum * (-std::f64::consts::LOG2_E / count))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn the_rate_rises_and_falls() {
        let schedule = Schedule {
            peak: 1.0,
            warmup: 10,
            steps: 110,
            floor: 0.1,
        };
        assert_eq!(schedule.rate(0), 0.1);
        assert_eq!(schedule.rate(9), 1.0);
        assert_eq!(schedule.rate(10), 1.0);
        assert!((schedule.rate(60) - 0.55).abs() < 1e-12);
        assert!((schedule.rate(110) - 0.1).abs() < 1e-12);
        assert!((schedule.rate(1000) - 0.1).abs() < 1e-12);
        let none = Schedule {
            warmup: 0,
            steps: 0,
            ..schedule
        };
        assert!(none.rate(0).is_finite());
    }

    #[test]
    fn clipping_keeps_the_direction() {
        let var = Var::from_tensor(&Tensor::new(&[3f32, 4.], &Device::Cpu).unwrap()).unwrap();
        let gradients = |largest| {
            let half_square = (var.sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
            let mut grads = half_square.backward().unwrap();
            let norm = clip(&mut grads, std::slice::from_ref(&var), largest).unwrap();
            assert!((norm - 5.0).abs() < 1e-6);
            grads.get(&var).unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(gradients(10.0), [3.0, 4.0]);
        let clipped = gradients(1.0);
        assert!((clipped[0] - 0.6).abs() < 1e-6 && (clipped[1] - 0.8).abs() < 1e-6);
    }

    #[test]
    fn masked_targets_do_not_count() {
        let logits = Tensor::new(&[[[0f32, 0., 0., 0.], [9., 0., 0., 0.]]], &Device::Cpu).unwrap();
        let targets = Tensor::new(&[[1u32, 3]], &Device::Cpu).unwrap();
        let value = |mask: [[f32; 2]; 1]| {
            let mask = Tensor::new(&mask, &Device::Cpu).unwrap();
            loss(&logits, &targets, &mask)
                .unwrap()
                .to_scalar::<f32>()
                .unwrap()
        };
        assert!((value([[1., 0.]]) - 2.0).abs() < 1e-6);
        assert!(value([[1., 1.]]) > 4.0);
        assert_eq!(value([[0., 0.]]), 0.0);
    }

    #[test]
    fn matrices_alone_decay() {
        assert!(decays("hyena.backbone.layers.0.mlp.fc1.weight"));
        for name in [
            "layers.0.mlp.fc1.bias",
            "ln_f.weight",
            "mixer.filter_fn.implicit_filter.2.weight",
        ] {
            assert!(!decays(name));
        }
    }
}
