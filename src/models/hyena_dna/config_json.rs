//! Reads `config.json` in the Hugging Face and the original layout, writes the former.
//!
//! Every message names the field by its path, `model.layer.l_max` for example.

use super::config::Config;
use crate::Error;
use candle_core::Result;
use serde_json::{json, Map, Value};
use std::io::Read;
use std::path::Path;

/// Far more than any configuration needs, so a wrong path cannot fill the memory.
const MAX_BYTES: u64 = 1 << 20;

pub(super) fn read(path: &Path) -> Result<Config> {
    let name = path.display().to_string();
    let open = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().map_err(|e| malformed(&name, "a readable file", e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(malformed(
            &name,
            format!("a configuration of at most {MAX_BYTES} bytes"),
            "a larger file",
        )
        .into());
    }
    let text = std::str::from_utf8(&bytes).map_err(|e| malformed(&name, "UTF-8 text", e))?;
    parse(text, &name)
}

pub(super) fn parse(text: &str, source_name: &str) -> Result<Config> {
    let value: Value = serde_json::from_str(text)
        .map_err(|e| malformed(source_name, "a configuration in JSON", e))?;
    let top = Fields::new(&value, source_name, "")?;
    // A training run keeps the model's part of its configuration under `model`.
    let model = match top.object("model")? {
        Some(model) if !top.has("d_model") => model,
        _ => top,
    };
    let config = match model.object("layer")? {
        Some(layer) => original(&model, &layer)?,
        None => hugging_face(&model)?,
    };
    config.validate()?;
    Ok(config)
}

fn hugging_face(model: &Fields) -> Result<Config> {
    if let Some(model_type) = model.string("model_type")? {
        if model_type != "hyenadna" {
            return Err(model
                .wrong("model_type", "\"hyenadna\"", format!("{model_type:?}"))
                .into());
        }
    } else if !model.has("max_seq_len") {
        // Say what either layout looks like instead of missing one field after the other.
        return Err(malformed(
            model.source_name,
            "a HyenaDNA configuration: `model_type` \"hyenadna\" with flat fields, or a nested `layer`",
            model.describe(),
        )
        .into());
    }
    let d_model = model.required_count("d_model")?;
    let published = Config::tiny_1k();
    Ok(Config {
        d_model,
        n_layer: model.required_count("n_layer")?,
        d_inner: model.count("d_inner")?.unwrap_or(d_model.saturating_mul(4)),
        vocab_size: model.count("vocab_size")?.unwrap_or(12),
        pad_vocab_size_multiple: model.count("pad_vocab_size_multiple")?.unwrap_or(8),
        max_seq_len: model.required_count("max_seq_len")?,
        hyena_order: model.count("hyena_order")?.unwrap_or(2),
        short_filter_order: model.count("short_filter_order")?.unwrap_or(3),
        filter_order: model.count("filter_order")?.unwrap_or(64),
        emb_dim: model.count("emb_dim")?.unwrap_or(3),
        activation_freq: model.number("activation_freq")?.unwrap_or(1.0),
        train_freq: model.flag("train_freq")?.unwrap_or(true),
        num_inner_mlps: model.count("num_inner_mlps")?.unwrap_or(2),
        layer_norm_epsilon: model.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        use_bias: model.flag("use_bias")?.unwrap_or(true),
        residual_in_fp32: model.flag("residual_in_fp32")?.unwrap_or(true),
        modulate: model.flag("modulate")?.unwrap_or(true),
        filter_shift: model
            .number("filter_shift")?
            .unwrap_or(published.filter_shift),
        normalized: model.flag("normalized")?.unwrap_or(false),
        bidirectional: model.flag("bidirectional")?.unwrap_or(false),
        tie_word_embeddings: model.flag("tie_word_embeddings")?,
        pad_token_id: model
            .token("pad_token_id")?
            .unwrap_or(published.pad_token_id),
        initializer_range: model
            .number("initializer_range")?
            .unwrap_or(published.initializer_range),
        embed_dropout: model.number("embed_dropout")?.unwrap_or(0.1),
        hyena_dropout: model.number("hyena_dropout")?.unwrap_or(0.0),
        hyena_filter_dropout: model.number("hyena_filter_dropout")?.unwrap_or(0.0),
    })
}

fn original(model: &Fields, layer: &Fields) -> Result<Config> {
    if let Some(name) = layer.string("_name_")? {
        if name != "hyena" {
            return Err(layer
                .wrong("_name_", "\"hyena\"", format!("{name:?}"))
                .into());
        }
    }
    // Settings that make another model: refuse them rather than compute something else.
    if model.has("attn_layer_idx") && !model.is_empty_list("attn_layer_idx") {
        return Err(model
            .wrong(
                "attn_layer_idx",
                "no attention layers",
                model.show("attn_layer_idx"),
            )
            .into());
    }
    for field in ["num_heads", "num_blocks", "inner_factor"] {
        if let Some(got) = layer.count(field)?.filter(|&got| got != 1) {
            return Err(layer.wrong(field, "1", got).into());
        }
    }
    for field in ["outer_mixing", "post_order_ffn"] {
        if layer.flag(field)? == Some(true) {
            return Err(layer.wrong(field, "false", true).into());
        }
    }
    if let Some(activation) = layer.string("activation")? {
        if activation != "id" {
            return Err(layer
                .wrong("activation", "\"id\"", format!("{activation:?}"))
                .into());
        }
    }

    let d_model = model.required_count("d_model")?;
    let published = Config::tiny_1k();
    let bidirectional = match layer.flag("bidirectional")? {
        Some(flag) => Some(flag),
        None => model.flag("bidirectional")?,
    };
    Ok(Config {
        d_model,
        n_layer: model.required_count("n_layer")?,
        d_inner: model.count("d_inner")?.unwrap_or(d_model.saturating_mul(4)),
        vocab_size: model.count("vocab_size")?.unwrap_or(12),
        pad_vocab_size_multiple: model.count("pad_vocab_size_multiple")?.unwrap_or(1),
        max_seq_len: layer.required_count("l_max")?,
        hyena_order: layer.count("order")?.unwrap_or(2),
        short_filter_order: layer.count("short_filter_order")?.unwrap_or(3),
        filter_order: layer.count("filter_order")?.unwrap_or(64),
        emb_dim: layer.count("emb_dim")?.unwrap_or(3),
        activation_freq: layer.number("w")?.unwrap_or(1.0),
        train_freq: layer.flag("train_freq")?.unwrap_or(true),
        num_inner_mlps: layer.count("num_inner_mlps")?.unwrap_or(2),
        layer_norm_epsilon: model.number("layer_norm_epsilon")?.unwrap_or(1e-5),
        use_bias: layer.flag("bias")?.unwrap_or(true),
        residual_in_fp32: model.flag("residual_in_fp32")?.unwrap_or(false),
        modulate: layer.flag("modulate")?.unwrap_or(true),
        filter_shift: layer.number("shift")?.unwrap_or(published.filter_shift),
        normalized: layer.flag("normalized")?.unwrap_or(false),
        bidirectional: bidirectional.unwrap_or(false),
        tie_word_embeddings: model.flag("tie_word_embeddings")?,
        pad_token_id: model
            .token("pad_token_id")?
            .unwrap_or(published.pad_token_id),
        initializer_range: published.initializer_range,
        embed_dropout: model.number("embed_dropout")?.unwrap_or(0.1),
        hyena_dropout: layer.number("dropout")?.unwrap_or(0.0),
        hyena_filter_dropout: layer.number("filter_dropout")?.unwrap_or(0.0),
    })
}

pub(super) fn write_hf(config: &Config) -> String {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_string(), value);
    };
    put("activation_freq", json!(config.activation_freq));
    put("architectures", json!(["HyenaDNAForCausalLM"]));
    put("d_inner", json!(config.d_inner));
    put("d_model", json!(config.d_model));
    put("emb_dim", json!(config.emb_dim));
    put("embed_dropout", json!(config.embed_dropout));
    put("filter_order", json!(config.filter_order));
    put("hyena_dropout", json!(config.hyena_dropout));
    put("hyena_filter_dropout", json!(config.hyena_filter_dropout));
    put("hyena_order", json!(config.hyena_order));
    put("initializer_range", json!(config.initializer_range));
    put("layer_norm_epsilon", json!(config.layer_norm_epsilon));
    put("max_seq_len", json!(config.max_seq_len));
    put("model_type", json!("hyenadna"));
    put("n_layer", json!(config.n_layer));
    put("num_inner_mlps", json!(config.num_inner_mlps));
    put("pad_token_id", json!(config.pad_token_id));
    put(
        "pad_vocab_size_multiple",
        json!(config.pad_vocab_size_multiple),
    );
    put("short_filter_order", json!(config.short_filter_order));
    if let Some(tied) = config.tie_word_embeddings {
        put("tie_word_embeddings", json!(tied));
    }
    put("torch_dtype", json!("float32"));
    put("train_freq", json!(config.train_freq));
    put("use_bias", json!(config.use_bias));
    put("vocab_size", json!(config.vocab_size));

    if config.filter_shift != Config::tiny_1k().filter_shift {
        put("filter_shift", json!(config.filter_shift));
    }
    if !config.modulate {
        put("modulate", json!(false));
    }
    if config.normalized {
        put("normalized", json!(true));
    }
    if config.bidirectional {
        put("bidirectional", json!(true));
    }
    if !config.residual_in_fp32 {
        put("residual_in_fp32", json!(false));
    }
    format!("{:#}\n", Value::Object(fields))
}

fn malformed(source_name: &str, expected: impl ToString, got: impl ToString) -> Error {
    Error::Malformed {
        source_name: source_name.to_string(),
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

/// A JSON object that knows where it stands, for messages. `null` counts as absent.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    source_name: &'a str,
    /// Empty, or the path of this object with a dot at its end.
    path: String,
}

impl<'a> Fields<'a> {
    fn new(value: &'a Value, source_name: &'a str, path: &str) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self {
                map,
                source_name,
                path: path.to_string(),
            }),
            other => Err(malformed(
                source_name,
                match path {
                    "" => "a JSON object".to_string(),
                    _ => format!("`{}` to be an object", path.trim_end_matches('.')),
                },
                shorten(other),
            )
            .into()),
        }
    }

    fn wrong(&self, field: &str, expected: impl ToString, got: impl ToString) -> Error {
        malformed(
            self.source_name,
            format!("`{}{field}` to be {}", self.path, expected.to_string()),
            got,
        )
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    fn show(&self, field: &str) -> String {
        self.map.get(field).map_or("nothing".to_string(), shorten)
    }

    fn is_empty_list(&self, field: &str) -> bool {
        matches!(self.get(field), Some(Value::Array(items)) if items.is_empty())
    }

    /// The names of the first fields, for a message about a file of another kind.
    fn describe(&self) -> String {
        let names: Vec<_> = self.map.keys().take(8).map(|k| short_text(k)).collect();
        format!("an object with the fields [{}]", names.join(", "))
    }

    fn object(&self, field: &str) -> Result<Option<Fields<'a>>> {
        self.get(field)
            .map(|value| Fields::new(value, self.source_name, &format!("{}{field}.", self.path)))
            .transpose()
    }

    fn typed<T>(
        &self,
        field: &str,
        expected: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => match convert(value) {
                Some(converted) => Ok(Some(converted)),
                None => Err(self.wrong(field, expected, shorten(value)).into()),
            },
        }
    }

    fn count(&self, field: &str) -> Result<Option<usize>> {
        self.typed(field, "a whole number of at least 0", |value| {
            usize::try_from(value.as_u64()?).ok()
        })
    }

    fn required_count(&self, field: &str) -> Result<usize> {
        match self.count(field)? {
            Some(count) => Ok(count),
            None => Err(self.wrong(field, "a whole number", "nothing").into()),
        }
    }

    fn token(&self, field: &str) -> Result<Option<u32>> {
        self.typed(field, "a token id", |value| {
            u32::try_from(value.as_u64()?).ok()
        })
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        self.typed(field, "a number", Value::as_f64)
    }

    fn flag(&self, field: &str) -> Result<Option<bool>> {
        self.typed(field, "true or false", Value::as_bool)
    }

    fn string(&self, field: &str) -> Result<Option<&'a str>> {
        self.typed(field, "a string", Value::as_str)
    }
}

/// A value for a message: whole when small, by its kind when large.
fn shorten(value: &Value) -> String {
    match value {
        Value::Object(map) => format!("an object of {} fields", map.len()),
        Value::Array(items) => format!("a list of {} items", items.len()),
        Value::String(text) => format!("{:?}", short_text(text)),
        other => other.to_string(),
    }
}

fn short_text(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}
