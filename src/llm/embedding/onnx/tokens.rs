//! Tokenizes texts, in batches of similar length.

use std::path::Path;

use anyhow::{anyhow, ensure};
use tokenizers::{Tokenizer, TruncationParams};

/// Maximum tokens per batch, padding included. It is low, because a question may have to wait for a batch.
const MOST_TOKENS: usize = 512;
/// A word that tokenizers of all languages can encode.
const WORD: &str = "a ";

/// A model's tokenizer.
pub(super) struct Tokens {
    tokenizer: Tokenizer,
    max_tokens: usize,
}

impl Tokens {
    pub(super) fn load(folder: &Path, max_tokens: u32) -> anyhow::Result<Self> {
        let file = folder.join("tokenizer.json");
        ensure!(
            file.is_file(),
            "there is no tokenizer.json in {}; search.embeddings.path has to be a folder with it and with model.onnx or \
             onnx/model.onnx",
            folder.display()
        );
        let refused = |error| anyhow!("{} is no tokenizer that can be used: {error}", file.display());
        let mut tokenizer = Tokenizer::from_file(&file).map_err(refused)?;
        let max_tokens = max_tokens as usize;
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(refused)?;
        // `Batch` pads, no further than needed.
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, max_tokens })
    }

    /// The tokens of a text, truncated to the maximum. An error is about the text.
    pub(super) fn of(&self, text: &str) -> anyhow::Result<Vec<i64>> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| anyhow!(error))?;
        ensure!(!encoding.get_ids().is_empty(), "a text without tokens");
        Ok(encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
    }

    /// A text of maximum length.
    pub(super) fn longest(&self) -> anyhow::Result<Batch> {
        Ok(Batch { rows: vec![(0, self.of(&WORD.repeat(self.max_tokens))?)] })
    }
}

/// Texts that are computed together, with their indexes in the input.
#[derive(Debug)]
pub(super) struct Batch {
    rows: Vec<(usize, Vec<i64>)>,
}

impl Batch {
    /// Groups texts of similar length, because the shorter ones of a batch are padded.
    pub(super) fn divide(rows: Vec<Vec<i64>>) -> Vec<Self> {
        let mut rows: Vec<(usize, Vec<i64>)> = rows.into_iter().enumerate().collect();
        rows.sort_by_key(|(_, row)| row.len());
        let mut batches: Vec<Self> = Vec::new();
        for (place, row) in rows {
            match batches.last_mut() {
                Some(batch) if (batch.rows.len() + 1) * row.len() <= MOST_TOKENS => batch.rows.push((place, row)),
                _ => batches.push(Self { rows: vec![(place, row)] }),
            }
        }
        batches
    }

    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|(place, _)| *place)
    }

    /// The number of tokens of each text.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|(_, row)| row.len())
    }

    /// The number of texts, and of tokens per text with padding.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.rows.len(), self.lengths().max().unwrap_or_default()]
    }

    /// The token ids, row by row. The padding is 0 and is masked out by `mask`.
    pub(super) fn ids(&self) -> Vec<i64> {
        self.padded(|id| id)
    }

    pub(super) fn mask(&self) -> Vec<i64> {
        self.padded(|_| 1)
    }

    fn padded(&self, of: impl Fn(i64) -> i64) -> Vec<i64> {
        let [_, width] = self.shape();
        let padded = |row: &Vec<i64>| {
            let padding = std::iter::repeat_n(0, width - row.len());
            row.iter().map(|id| of(*id)).chain(padding).collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(|(_, row)| padded(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_padded_to_its_longest() {
        let batch = Batch { rows: vec![(1, vec![7]), (0, vec![8, 9])] };
        assert_eq!((batch.shape(), batch.ids(), batch.mask()), ([2, 2], vec![7, 0, 8, 9], vec![1, 0, 1, 1]));
    }

    #[test]
    fn batches_are_bounded_and_have_every_text_once() {
        let lengths = [300, 5, 2_000, 5, 300, 5, 200];
        let batches = Batch::divide(lengths.iter().map(|length| vec![1; *length]).collect());
        for batch in &batches {
            let [rows, width] = batch.shape();
            assert!(rows == 1 || rows * width <= MOST_TOKENS, "{batch:?}");
        }
        let mut places: Vec<usize> = batches.iter().flat_map(Batch::places).collect();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3, 4, 5, 6]);
        assert!(batches[0].lengths().eq([5, 5, 5]));
    }

    #[test]
    fn a_folder_without_a_tokenizer_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refusal = |folder: &Path| Tokens::load(folder, 256).err().unwrap().to_string();
        assert!(refusal(folder.path()).contains("search.embeddings.path"));
        std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        assert!(refusal(folder.path()).contains("tokenizer.json is no tokenizer"));
    }
}
