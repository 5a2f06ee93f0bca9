//! One token per character, as HyenaDNA was trained.

use candle_core::{Device, Result, Tensor};

/// The tokenizer of HyenaDNA: one token per Unicode character, case-sensitive.
///
/// | id | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 |
/// |---|---|---|---|---|---|---|---|---|---|---|---|---|
/// | token | `[CLS]` | `[SEP]` | `[BOS]` | `[MASK]` | `[PAD]` | `[RESERVED]` | `[UNK]` | `A` | `C` | `G` | `T` | `N` |
///
/// Anything else is `[UNK]`, lower case and white space too: convert a
/// soft-masked genome to upper case first. A special token written out in the
/// text, such as `[MASK]`, becomes that one token, as in the original
/// (`[RESERVED]` does not; `[MASK]` takes the white space before it with it).
///
/// ```
/// use candle_flashfftconv::models::hyena_dna::CharacterTokenizer;
///
/// let tokenizer = CharacterTokenizer::default();
/// assert_eq!(tokenizer.encode("ACGTN"), [0, 7, 8, 9, 10, 11, 1]);
/// assert_eq!(tokenizer.encode_plain("ACGTN"), [7, 8, 9, 10, 11]);
/// assert_eq!(tokenizer.decode(&[0, 7, 8, 1]), "[CLS]AC[SEP]");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CharacterTokenizer {}

/// The tokens in the order of their ids.
const TOKENS: [&str; 12] = [
    "[CLS]",
    "[SEP]",
    "[BOS]",
    "[MASK]",
    "[PAD]",
    "[RESERVED]",
    "[UNK]",
    "A",
    "C",
    "G",
    "T",
    "N",
];

/// The special tokens that are recognised in a text.
const WRITTEN_OUT: [u32; 6] = [
    CharacterTokenizer::CLS,
    CharacterTokenizer::SEP,
    CharacterTokenizer::BOS,
    CharacterTokenizer::MASK,
    CharacterTokenizer::PAD,
    CharacterTokenizer::UNK,
];

impl CharacterTokenizer {
    /// `[CLS]`, put before a text by [`CharacterTokenizer::encode`].
    pub const CLS: u32 = 0;
    /// `[SEP]`, put after a text; also the end of a sequence.
    pub const SEP: u32 = 1;
    /// `[BOS]`.
    pub const BOS: u32 = 2;
    /// `[MASK]`.
    pub const MASK: u32 = 3;
    /// `[PAD]`, which fills a batch up on the left.
    pub const PAD: u32 = 4;
    /// `[RESERVED]`.
    pub const RESERVED: u32 = 5;
    /// `[UNK]`, any character outside the alphabet.
    pub const UNK: u32 = 6;
    /// `A`.
    pub const A: u32 = 7;
    /// `C`.
    pub const C: u32 = 8;
    /// `G`.
    pub const G: u32 = 9;
    /// `T`.
    pub const T: u32 = 10;
    /// `N`, any of the four bases.
    pub const N: u32 = 11;

    /// Number of tokens. (The model rounds it up, see
    /// [`Config::padded_vocab_size`](super::Config::padded_vocab_size).)
    pub const VOCAB_SIZE: usize = TOKENS.len();

    /// The ids of `[CLS] text [SEP]`, as calling the original tokenizer gives them.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len().saturating_add(2));
        ids.push(Self::CLS);
        push_ids(text, &mut ids);
        ids.push(Self::SEP);
        ids
    }

    /// The ids of the text alone.
    pub fn encode_plain(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len());
        push_ids(text, &mut ids);
        ids
    }

    /// The ids of `text [SEP]`, as the tokenizer beside the `-hf` weights gives them.
    pub fn encode_hf(&self, text: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len().saturating_add(1));
        push_ids(text, &mut ids);
        ids.push(Self::SEP);
        ids
    }

    /// [`CharacterTokenizer::encode`] for several texts, each filled up with
    /// `[PAD]` on the left to the length of the longest.
    ///
    /// Nothing masks the padding: in a causal model it influences the
    /// positions after it. For exact results run texts of one length together.
    ///
    /// ```
    /// use candle_flashfftconv::models::hyena_dna::CharacterTokenizer;
    ///
    /// let ids = CharacterTokenizer::default().encode_batch(&["ACGT", "AC"]);
    /// assert_eq!(ids, [[0, 7, 8, 9, 10, 1], [4, 4, 0, 7, 8, 1]]);
    /// ```
    pub fn encode_batch<S: AsRef<str>>(&self, texts: &[S]) -> Vec<Vec<u32>> {
        let rows = texts.iter().map(|t| self.encode(t.as_ref())).collect();
        pad_left(rows)
    }

    /// [`CharacterTokenizer::encode_batch`] as a tensor of shape `(B, L)`, dtype u32.
    ///
    /// # Errors
    /// Only when the device has no room for it.
    pub fn encode_batch_tensor<S: AsRef<str>>(
        &self,
        texts: &[S],
        device: &Device,
    ) -> Result<Tensor> {
        let rows = self.encode_batch(texts);
        let shape = (rows.len(), rows.first().map_or(0, Vec::len));
        Tensor::from_vec(rows.concat(), shape, device)
    }

    /// The tokens of `ids` one after the other, special ones by their names.
    /// Ids outside the vocabulary (the model's padded rows) read `[UNK]`.
    pub fn decode(&self, ids: &[u32]) -> String {
        ids.iter().map(|&id| token(id)).collect()
    }

    /// The characters of `ids` without special tokens: what was encoded, where it had no `[UNK]`.
    pub fn decode_plain(&self, ids: &[u32]) -> String {
        ids.iter()
            .filter(|&&id| id >= Self::A)
            .map(|&id| token(id))
            .filter(|token| !token.starts_with('['))
            .collect()
    }

    /// The id of a token by its name, `"A"` or `"[MASK]"`, if there is one.
    pub fn token_to_id(&self, name: &str) -> Option<u32> {
        (0..)
            .zip(TOKENS)
            .find(|(_, t)| *t == name)
            .map(|(id, _)| id)
    }

    /// The token with this id, if there is one.
    pub fn id_to_token(&self, id: u32) -> Option<&'static str> {
        TOKENS.get(usize::try_from(id).ok()?).copied()
    }
}

fn token(id: u32) -> &'static str {
    CharacterTokenizer::default()
        .id_to_token(id)
        .unwrap_or("[UNK]")
}

fn push_ids(text: &str, ids: &mut Vec<u32>) {
    let mut rest = text;
    // Where the characters since the last special token begin.
    let mut after_special = ids.len();
    while let Some(character) = rest.chars().next() {
        let (id, length) = match special_at(rest) {
            Some(special) => special,
            None => (character_id(character), character.len_utf8()),
        };
        if id == CharacterTokenizer::MASK {
            // White space is one [UNK] a character, so as many ids go as characters.
            let before = text.len().saturating_sub(rest.len());
            let blanks = text.get(..before).map_or(0, |before| {
                before
                    .chars()
                    .rev()
                    .take_while(|c| c.is_whitespace())
                    .count()
            });
            ids.truncate(ids.len().saturating_sub(blanks).max(after_special));
        }
        ids.push(id);
        if character == '[' && length > 1 {
            after_special = ids.len();
        }
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// The special token that `text` starts with, and its length in bytes.
fn special_at(text: &str) -> Option<(u32, usize)> {
    // Almost every character takes this way out.
    if !text.starts_with('[') {
        return None;
    }
    WRITTEN_OUT.iter().find_map(|&id| {
        let name = token(id);
        text.starts_with(name).then_some((id, name.len()))
    })
}

fn character_id(character: char) -> u32 {
    match character {
        'A' => CharacterTokenizer::A,
        'C' => CharacterTokenizer::C,
        'G' => CharacterTokenizer::G,
        'T' => CharacterTokenizer::T,
        'N' => CharacterTokenizer::N,
        _ => CharacterTokenizer::UNK,
    }
}

fn pad_left(mut rows: Vec<Vec<u32>>) -> Vec<Vec<u32>> {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
    for row in &mut rows {
        let missing = longest.saturating_sub(row.len());
        row.splice(0..0, std::iter::repeat_n(CharacterTokenizer::PAD, missing));
    }
    rows
}
