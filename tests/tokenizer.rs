//! The tokenizer against the ids of the original one.

mod common;

use candle_core::Device;
use candle_flashfftconv::models::hyena_dna::CharacterTokenizer;
use common::golden_json;
use proptest::prelude::*;

fn ids(value: &serde_json::Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn gives_the_ids_of_the_original() {
    let golden = golden_json("tokenizer_examples.json");
    let tokenizer = CharacterTokenizer::default();
    let examples = golden["examples"].as_array().unwrap();
    assert!(examples.len() >= 7);
    for example in examples {
        let text = example["text"].as_str().unwrap();
        assert_eq!(
            tokenizer.encode(text),
            ids(&example["with_cls_sep"]),
            "{text}"
        );
        assert_eq!(
            tokenizer.encode_plain(text),
            ids(&example["bare"]),
            "{text}"
        );
        assert_eq!(
            tokenizer.encode_hf(text),
            ids(&example["hf_layout"]),
            "{text}"
        );
    }
}

#[test]
fn has_the_vocabulary_of_the_original() {
    let golden = golden_json("tokenizer_examples.json");
    let tokenizer = CharacterTokenizer::default();
    let vocabulary = golden["vocab"].as_object().unwrap();
    assert_eq!(vocabulary.len(), CharacterTokenizer::VOCAB_SIZE);
    for (name, id) in vocabulary {
        let id = u32::try_from(id.as_u64().unwrap()).unwrap();
        assert_eq!(tokenizer.token_to_id(name), Some(id));
        assert_eq!(tokenizer.id_to_token(id), Some(name.as_str()));
    }
    assert_eq!(tokenizer.token_to_id("a"), None);
    assert_eq!(tokenizer.id_to_token(12), None);
    assert_eq!(tokenizer.id_to_token(u32::MAX), None);
}

#[test]
fn pads_a_batch_on_the_left() {
    let golden = golden_json("tokenizer_examples.json");
    let batch = &golden["left_padded_batch"];
    let texts: Vec<String> = serde_json::from_value(batch["texts"].clone()).unwrap();
    let want: Vec<Vec<u32>> = serde_json::from_value(batch["input_ids"].clone()).unwrap();
    let tokenizer = CharacterTokenizer::default();
    assert_eq!(tokenizer.encode_batch(&texts), want);

    let tensor = tokenizer.encode_batch_tensor(&texts, &Device::Cpu).unwrap();
    assert_eq!(tensor.to_vec2::<u32>().unwrap(), want);
}

#[test]
fn takes_an_empty_batch() {
    let tokenizer = CharacterTokenizer::default();
    let none: [&str; 0] = [];
    assert!(tokenizer.encode_batch(&none).is_empty());
    let tensor = tokenizer.encode_batch_tensor(&none, &Device::Cpu).unwrap();
    assert_eq!(tensor.dims(), [0, 0]);
}

#[test]
fn counts_characters_not_bytes() {
    let tokenizer = CharacterTokenizer::default();
    let unknown = CharacterTokenizer::UNK;
    // One code point of 2, 3 and 4 bytes each; a letter and its combining accent are two.
    assert_eq!(tokenizer.encode_plain("é字🧬"), [unknown; 3]);
    assert_eq!(tokenizer.encode_plain("e\u{301}"), [unknown; 2]);
    assert_eq!(
        tokenizer.encode_plain("A\nC\r\n"),
        [7, unknown, 8, unknown, unknown]
    );
}

/// The ids are those of a tokenizer of the `transformers` library with this vocabulary.
#[test]
fn knows_special_tokens_written_out() {
    let tokenizer = CharacterTokenizer::default();
    let u = CharacterTokenizer::UNK;
    assert_eq!(tokenizer.encode_plain("A[MASK]C"), [7, 3, 8]);
    assert_eq!(tokenizer.encode("[BOS][PAD]"), [0, 2, 4, 1]);
    assert_eq!(tokenizer.encode_plain("A \t[MASK] C"), [7, 3, u, 8]);
    assert_eq!(tokenizer.encode_plain("[MASK] [MASK]"), [3, 3]);
    // An [UNK] written out before a mask is no white space.
    assert_eq!(tokenizer.encode_plain("[UNK] [MASK]"), [u, 3]);
    assert_eq!(tokenizer.encode_plain("X[MASK]"), [u, 3]);
    assert_eq!(tokenizer.encode_plain("[MASK"), [u, u, 7, u, u]);
    assert_eq!(tokenizer.encode_plain("[RESERVED]"), [u; 10]);
    assert_eq!(tokenizer.encode_plain("[[MASK]]"), [u, 3, u]);
    assert_eq!(tokenizer.encode_plain("a\u{3000}[MASK]"), [u, 3]);
    assert_eq!(tokenizer.encode_plain("  [SEP] A"), [u, u, 1, u, 7]);
}

#[test]
fn decodes() {
    let tokenizer = CharacterTokenizer::default();
    assert_eq!(
        tokenizer.decode(&[0, 7, 8, 9, 10, 11, 1]),
        "[CLS]ACGTN[SEP]"
    );
    assert_eq!(tokenizer.decode(&[7, 12, 15, u32::MAX]), "A[UNK][UNK][UNK]");
    assert_eq!(tokenizer.decode_plain(&[4, 4, 0, 7, 6, 13, 8, 1]), "AC");
    assert_eq!(tokenizer.decode(&[]), "");
}

proptest! {
    #[test]
    fn any_text_gives_tokens_of_the_vocabulary(text in ".*") {
        let tokenizer = CharacterTokenizer::default();
        let plain = tokenizer.encode_plain(&text);
        prop_assert!(plain.iter().all(|&id| (id as usize) < CharacterTokenizer::VOCAB_SIZE));
        if !text.contains('[') {
            prop_assert_eq!(plain.len(), text.chars().count());
        }
        let mut framed = vec![CharacterTokenizer::CLS];
        framed.extend(&plain);
        framed.push(CharacterTokenizer::SEP);
        prop_assert_eq!(tokenizer.encode(&text), framed);
    }

    #[test]
    fn what_was_encoded_decodes(text in "[ACGTN]{0,300}") {
        let tokenizer = CharacterTokenizer::default();
        prop_assert_eq!(tokenizer.decode_plain(&tokenizer.encode(&text)), text.clone());
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode_plain(&text)), text);
    }

    #[test]
    fn decoding_takes_any_ids(ids in prop::collection::vec(any::<u32>(), 0..50)) {
        CharacterTokenizer::default().decode(&ids);
        CharacterTokenizer::default().decode_plain(&ids);
    }
}
