//! The README quotes errors word for word, links files and inlines a picture: they must stay what they are.

use candle_core::{DType, Device, DeviceLocation, Module, Result, Tensor};
use candle_flashfftconv::models::checkpoint::load_tensors;
use candle_flashfftconv::models::hyena_dna::{Config, HyenaDna};
use candle_flashfftconv::{Conv1dLayout, Error, FlashDepthwiseConv1d, FlashFftConv};
use candle_nn::{VarBuilder, VarMap};
use std::collections::{BTreeSet, HashMap};

const README: &str = include_str!("../README.md");

/// Where the README is: the root of the package.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn zeros(shape: &[usize], dtype: DType) -> Result<Tensor> {
    Tensor::zeros(shape, dtype, &Device::Cpu)
}

#[track_caller]
fn message<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string().lines().next().unwrap_or("").to_string(),
    }
}

fn of_the_long_convolution() -> Result<Vec<String>> {
    let conv = FlashFftConv::causal(4096, &Device::Cpu)?;
    let circular = FlashFftConv::new(4096, &Device::Cpu)?;
    let u = zeros(&[2, 8, 4096], DType::F32)?;
    let k = zeros(&[8, 4096], DType::F32)?;
    let long = zeros(&[2, 8, 5000], DType::F32)?;
    let narrow_gate = zeros(&[1, 8, 1], DType::F32)?;
    let half_gate = u.to_dtype(DType::BF16)?;
    Ok(vec![
        message(conv.forward(&zeros(&[8, 4096], DType::F32)?, &k)),
        message(conv.forward(&u, &zeros(&[16, 4096], DType::F32)?)),
        message(conv.forward(&long, &k)),
        message(circular.forward(&long, &k)),
        message(circular.forward(&u, &zeros(&[8, 5000], DType::F32)?)),
        message(conv.forward_gated(&u, &k, &narrow_gate, &u)),
        message(conv.forward_gated(&u, &k, &half_gate, &u)),
        message(conv.forward_projected(&u, &k)),
        message(conv.forward(&u.to_dtype(DType::U32)?, &k)),
        message(FlashFftConv::causal(10_000_000, &Device::Cpu)),
    ])
}

fn of_the_short_convolution() -> Result<Vec<String>> {
    let weight = zeros(&[8, 3], DType::F32)?;
    let conv = FlashDepthwiseConv1d::causal(weight.clone(), None, Conv1dLayout::Bhl)?;
    let valid = FlashDepthwiseConv1d::new(weight, None, 0, Conv1dLayout::Bhl)?;
    Ok(vec![
        message(conv.forward(&zeros(&[2, 4096, 8], DType::F32)?)),
        message(valid.forward(&zeros(&[2, 8, 1], DType::F32)?)),
    ])
}

fn of_the_models() -> Result<Vec<String>> {
    let config = Config::tiny_1k();
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let model = HyenaDna::new(config.clone(), vb)?;
    let id_16 = Tensor::full(16u32, (1, 4), &Device::Cpu)?;
    let from = |name: &str, shape: &[usize]| -> Result<String> {
        let tensors = HashMap::from([(name.to_string(), zeros(shape, DType::F32)?)]);
        let model = HyenaDna::from_tensors(config.clone(), tensors, DType::F32, &Device::Cpu);
        Ok(message(model))
    };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.safetensors");
    let file = |bytes: &[u8]| -> Result<String> {
        std::fs::write(&path, bytes)?;
        let message = message(load_tensors(&path, &Device::Cpu));
        Ok(message.replace(&path.display().to_string(), "model.safetensors"))
    };
    Ok(vec![
        message(model.forward(&zeros(&[1, 2000], DType::U32)?)),
        message(model.forward(&id_16)),
        from("backbone.ln_f.weight", &[256])?,
        from("backbone.layers.2.norm1.weight", &[128])?,
        file(b"version https://git-lfs.github.com/spec/v1")?,
        file(b"\x80\x02}q\x00.")?,
    ])
}

/// Those that no call makes on a machine without a GPU.
fn of_a_gpu() -> Vec<String> {
    let errors = [
        Error::NotOnDevice {
            operation: "the gradient of the long convolution",
            device: "CUDA",
            advice: "move the tensors to the CPU",
        },
        Error::Deviates {
            case: "gated long convolution, L = 4096, bf16".into(),
            expected: "at most 2.5e-3".into(),
            got: "1.0e0".into(),
        },
        Error::Device {
            tensor: "u",
            expected: DeviceLocation::Cuda { gpu_id: 0 },
            got: DeviceLocation::Cpu,
        },
        Error::DeviceMemory {
            what: "the workspace",
            expected: 1 << 34,
            got: (1u64 << 30).to_string(),
        },
    ];
    errors.map(|error| error.to_string()).into()
}

#[test]
fn quoted_errors_are_real() -> Result<()> {
    let real: BTreeSet<String> = [
        of_the_long_convolution()?,
        of_the_short_convolution()?,
        of_the_models()?,
        of_a_gpu(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let quoted: BTreeSet<String> = README
        .split("\n## ")
        .filter(|section| section.starts_with("Questions by error message"))
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("- `")?.split('`').next())
        .map(str::to_string)
        .collect();
    let missing: Vec<_> = real.difference(&quoted).collect();
    let invented: Vec<_> = quoted.difference(&real).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not in the README: {missing:#?}\nin the README alone: {invented:#?}"
    );
    Ok(())
}

#[test]
fn linked_files_exist() {
    let targets = README
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.split_once("]: "))
        .map(|(_, target)| target)
        .chain(
            README
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next()),
        )
        .filter(|target| !target.starts_with("https://") && !target.starts_with('#'));
    let missing: Vec<_> = targets
        .filter(|target| !std::path::Path::new(ROOT).join(target).exists())
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn section_links_have_sections() {
    let slug = |title: &str| -> String {
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c })
            .collect::<String>()
            .to_lowercase()
    };
    let sections: Vec<String> = README
        .lines()
        .filter_map(|line| line.strip_prefix("## ").or(line.strip_prefix("### ")))
        .map(slug)
        .collect();
    for link in README
        .split("](#")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        assert!(sections.iter().any(|s| s == link), "{link} of {sections:?}");
    }
}

/// The documentation shows the pictures from the links themselves, for want of files.
#[test]
fn the_inlined_pictures_are_the_drawn_ones() {
    let pictures: [(&[u8], &str, &str); 2] = [
        (
            include_bytes!("../docs/fused.svg"),
            include_str!("../docs/fused.svg.base64"),
            "fused",
        ),
        (
            include_bytes!("../docs/gpu.svg"),
            include_str!("../docs/gpu.svg.base64"),
            "gpu",
        ),
    ];
    for (drawn, inlined, name) in pictures {
        assert_eq!(
            inlined.trim(),
            base64(drawn),
            "run: base64 -w0 docs/{name}.svg > docs/{name}.svg.base64"
        );
    }
}

fn base64(bytes: &[u8]) -> String {
    let digits: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['+', '/'])
        .collect();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0usize, |n, i| {
            n << 8 | group.get(i).copied().unwrap_or(0) as usize
        });
        for place in 0..4 {
            text.push(match place <= group.len() {
                true => digits[number >> (18 - 6 * place) & 63],
                false => '=',
            });
        }
    }
    text
}
