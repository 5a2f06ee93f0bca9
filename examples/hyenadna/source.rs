//! Where a model comes from: local files, the Hugging Face hub, or the program itself.

use crate::bundled;
use crate::likelihood::SequenceModel;
use anyhow::{bail, Context, Result};
use candle_core::{DType, Device, Tensor};
use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna};
use candle_nn::VarBuilder;
use std::path::{Path, PathBuf};

/// The flags that choose a model, common to all commands.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ModelArgs {
    /// cpu, cuda or cuda:N; without it the first GPU in a build with the feature `cuda`, else the CPU.
    #[arg(long, global = true)]
    pub device: Option<String>,

    /// A repository of the Hugging Face hub, such as LongSafari/hyenadna-tiny-1k-seqlen-hf, or a
    /// local folder with config.json and model.safetensors or weights.ckpt. Without this and
    /// without --weight-files: the small model inside the program.
    #[arg(long, global = true)]
    pub model_id: Option<String>,

    /// The branch, tag or commit of the repository.
    #[arg(long, global = true, default_value = "main")]
    pub revision: String,

    /// Local weights, .safetensors or .ckpt, several separated by commas. They win over --model-id.
    #[arg(long, global = true, value_delimiter = ',')]
    pub weight_files: Vec<PathBuf>,

    /// A local config.json. It wins over --model-id.
    #[arg(long, global = true)]
    pub config_file: Option<PathBuf>,

    /// The type of the weights and of the arithmetic.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub dtype: WhichDType,
}

/// The floating-point types to run in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WhichDType {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, IEEE half precision.
    F16,
    /// 16 bits, the range of f32.
    Bf16,
}

impl From<WhichDType> for DType {
    fn from(which: WhichDType) -> Self {
        match which {
            WhichDType::F32 => DType::F32,
            WhichDType::F16 => DType::F16,
            WhichDType::Bf16 => DType::BF16,
        }
    }
}

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// On this machine.
    Local(PathBuf),
    /// The first of these names that the hub's repository has.
    Hub(&'static [&'static str]),
}

/// Where a model's configuration and weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Bundled,
    Files { config: Place, weights: Vec<Place> },
}

const CONFIG: &str = "config.json";
/// The `-hf` repositories hold the first, the original ones the second.
const WEIGHTS: &[&str] = &["model.safetensors", "weights.ckpt"];

/// Decides where the model comes from. Looks at the local file system, not at the network.
fn choose(args: &ModelArgs) -> Result<Source> {
    let local = args
        .model_id
        .as_deref()
        .map(Path::new)
        .filter(|folder| folder.is_dir());
    let config = match (&args.config_file, local, &args.model_id) {
        (Some(file), _, _) => Place::Local(file.clone()),
        (None, Some(folder), _) => Place::Local(folder.join(CONFIG)),
        (None, None, Some(_)) => Place::Hub(&[CONFIG]),
        (None, None, None) if args.weight_files.is_empty() => return Ok(Source::Bundled),
        (None, None, None) => bail!(
            "--weight-files needs --config-file, or --model-id, for the configuration of the model"
        ),
    };
    let weights = if !args.weight_files.is_empty() {
        args.weight_files
            .iter()
            .cloned()
            .map(Place::Local)
            .collect()
    } else if let Some(folder) = local {
        let files = WEIGHTS.iter().map(|name| folder.join(name));
        match files.into_iter().find(|file| file.is_file()) {
            Some(file) => vec![Place::Local(file)],
            None => bail!("{} holds no {}", folder.display(), WEIGHTS.join(" and no ")),
        }
    } else if args.model_id.is_some() {
        vec![Place::Hub(WEIGHTS)]
    } else {
        bail!("--config-file needs --weight-files, or --model-id, for the weights of the model");
    };
    for place in std::iter::once(&config).chain(&weights) {
        if let Place::Local(file) = place {
            if !file.is_file() {
                bail!("there is no file {}", file.display());
            }
        }
    }
    Ok(Source::Files { config, weights })
}

/// Downloads a file, or finds it in the hub's local cache.
fn fetch(args: &ModelArgs, names: &[&str]) -> Result<PathBuf> {
    use hf_hub::{api::sync::Api, Repo, RepoType};
    let id = args.model_id.clone().context("no --model-id")?;
    let repo = Api::new()
        .context("cannot set up access to the Hugging Face hub")?
        .repo(Repo::with_revision(
            id.clone(),
            RepoType::Model,
            args.revision.clone(),
        ));
    let mut failures = Vec::new();
    for name in names {
        match repo.get(name) {
            Ok(path) => return Ok(path),
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    bail!(
        "cannot get {} of {id}, revision {}, from the Hugging Face hub, and there is no local folder {id} ({})",
        names.join(" or "),
        args.revision,
        failures.join("; ")
    )
}

/// A model with what there is to say about it.
pub struct LoadedModel {
    model: HyenaDna,
    /// Its configuration.
    pub config: Config,
    /// The type of its weights.
    pub dtype: DType,
    /// Where it came from, for people.
    pub origin: String,
    device: Device,
}

impl SequenceModel for LoadedModel {
    fn logits(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.model.forward(ids)
    }

    fn hidden_states(&self, ids: &Tensor) -> candle_core::Result<Tensor> {
        self.model.hidden_states(ids)
    }

    fn max_len(&self) -> usize {
        self.config.max_seq_len
    }

    fn device(&self) -> &Device {
        &self.device
    }
}

/// Loads the model that the flags ask for.
pub fn load(args: &ModelArgs, device: &Device) -> Result<LoadedModel> {
    let dtype = DType::from(args.dtype);
    let find = |place: &Place| match place {
        Place::Local(file) => Ok(file.clone()),
        Place::Hub(names) => fetch(args, names),
    };
    let (config, model, origin) = match choose(args)? {
        Source::Bundled => {
            let config = Config::from_json(bundled::MODEL_CONFIG)?;
            let weights = bundled::MODEL_WEIGHTS.to_vec();
            let vb = VarBuilder::from_buffered_safetensors(weights, dtype, device)?;
            let model = HyenaDna::new(config.clone(), vb).context("the bundled model")?;
            (
                config,
                model,
                "bundled, trained on Escherichia coli".to_string(),
            )
        }
        Source::Files { config, weights } => {
            let file = find(&config)?;
            let config =
                Config::from_file(&file).with_context(|| format!("in {}", file.display()))?;
            let files = weights.iter().map(find).collect::<Result<Vec<_>>>()?;
            let shown: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
            let origin = shown.join(", ");
            let model = HyenaDna::from_files(config.clone(), &files, dtype, device)
                .with_context(|| format!("cannot load the weights {origin}"))?;
            (config, model, origin)
        }
    };
    Ok(LoadedModel {
        model,
        config,
        dtype,
        origin,
        device: device.clone(),
    })
}

/// The device of that name: `cpu`, `cuda` or `cuda:N`. Without a name, the first GPU where the
/// program was built with the feature `cuda`, else the CPU.
pub fn device(name: Option<&str>) -> Result<Device> {
    let name = name.unwrap_or(match cfg!(feature = "cuda") {
        true => "cuda",
        false => "cpu",
    });
    let number = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => Some(0),
        Some(("cuda", number)) => number.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) => Device::new_cuda(number)
            .with_context(|| format!("cannot use the GPU {number}; --device cpu runs without one")),
        None => bail!("--device: expected cpu, cuda or cuda:N, got {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(model_id: Option<&str>, config: Option<&Path>, weights: &[&Path]) -> ModelArgs {
        ModelArgs {
            model_id: model_id.map(str::to_string),
            config_file: config.map(Path::to_path_buf),
            weight_files: weights.iter().map(|p| p.to_path_buf()).collect(),
            ..ModelArgs::default()
        }
    }

    #[test]
    fn local_files_win_over_the_hub() {
        let folder = tempfile::tempdir().unwrap();
        let (config, weights) = (folder.path().join("c.json"), folder.path().join("w.ckpt"));
        std::fs::write(&config, "{}").unwrap();
        std::fs::write(&weights, "").unwrap();
        let id = Some("LongSafari/hyenadna-tiny-1k-seqlen-hf");

        assert_eq!(choose(&args(None, None, &[])).unwrap(), Source::Bundled);
        let hub = choose(&args(id, None, &[])).unwrap();
        let want = Source::Files {
            config: Place::Hub(&[CONFIG]),
            weights: vec![Place::Hub(WEIGHTS)],
        };
        assert_eq!(hub, want);
        let both = choose(&args(id, Some(&config), &[&weights])).unwrap();
        let want = Source::Files {
            config: Place::Local(config.clone()),
            weights: vec![Place::Local(weights.clone())],
        };
        assert_eq!(both, want);
        let mixed = choose(&args(id, None, &[&weights])).unwrap();
        let want = Source::Files {
            config: Place::Hub(&[CONFIG]),
            weights: vec![Place::Local(weights)],
        };
        assert_eq!(mixed, want);
    }

    #[test]
    fn a_folder_is_a_model_id() {
        let folder = tempfile::tempdir().unwrap();
        let id = folder.path().to_str();
        assert!(choose(&args(id, None, &[])).is_err());
        for name in [CONFIG, "weights.ckpt", "model.safetensors"] {
            let file = folder.path().join(name);
            std::fs::write(&file, "{}").unwrap();
            if name != CONFIG {
                // The safetensors file, once there, comes before the checkpoint.
                let want = Source::Files {
                    config: Place::Local(folder.path().join(CONFIG)),
                    weights: vec![Place::Local(file)],
                };
                assert_eq!(choose(&args(id, None, &[])).unwrap(), want);
            }
        }
    }

    #[test]
    fn half_a_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(choose(&args(None, Some(&file), &[])).is_err());
        assert!(choose(&args(None, None, &[&file])).is_err());
        let missing = folder.path().join("missing");
        let error = choose(&args(None, Some(&file), &[&missing])).unwrap_err();
        assert!(error.to_string().contains("missing"));
    }
}
