//! The ONNX runtime, and a model loaded into it.

use std::{
    env::consts::{DLL_PREFIX, DLL_SUFFIX},
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, ensure};
use ort::{
    environment::Environment,
    logging::LogLevel,
    session::{Session, SessionInputValue},
    value::{Tensor, TensorElementType, ValueType},
};

use super::{pooling::pool, tokens::Batch};
use crate::config::{EmbeddingSettings, Pooling};

/// More threads hardly speed up one text, and leave less for everything else.
const MOST_THREADS: usize = 4;
/// Where the model may be within its folder.
const FILES: [&str; 2] = ["model.onnx", "onnx/model.onnx"];
/// The usual name of the output with the token vectors; without it, the first output is used.
const OUTPUT: &str = "last_hidden_state";

/// A model that is ready to compute.
pub(super) struct Model {
    session: Session,
    inputs: Vec<(String, Input)>,
    output: String,
    pooling: Pooling,
}

/// An input that a model may require.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Ids,
    Mask,
    /// Which of two texts a token belongs to; here there is only one text.
    Types,
}

impl Input {
    fn named(name: &str) -> Option<Self> {
        match name {
            "input_ids" => Some(Self::Ids),
            "attention_mask" => Some(Self::Mask),
            "token_type_ids" => Some(Self::Types),
            _ => None,
        }
    }

    fn of(self, batch: &Batch) -> Vec<i64> {
        match self {
            Self::Ids => batch.ids(),
            Self::Mask => batch.mask(),
            Self::Types => vec![0; batch.shape().iter().product()],
        }
    }
}

impl Model {
    pub(super) fn load(folder: &Path, settings: &EmbeddingSettings) -> anyhow::Result<Self> {
        let file = FILES.iter().map(|file| folder.join(file)).find(|file| file.is_file()).with_context(|| {
            format!(
                "there is no model.onnx nor onnx/model.onnx in {}; search.embeddings.path has to be a folder with one",
                folder.display()
            )
        })?;
        let runtime = load_runtime(settings.runtime.as_deref())?;
        let session =
            open(&runtime, &file).with_context(|| format!("{} is no model that can be used", file.display()))?;
        let inputs = session.inputs().iter().map(|input| {
            let known = Input::named(input.name()).with_context(|| {
                format!(
                    "{} wants the input {}; use a model of texts that wants input_ids, attention_mask and perhaps \
                     token_type_ids",
                    file.display(),
                    input.name()
                )
            })?;
            Ok((input.name().to_owned(), known))
        });
        let inputs = inputs.collect::<anyhow::Result<_>>()?;
        let output = session.outputs().iter().find(|output| output.name() == OUTPUT).or(session.outputs().first());
        let output = output.with_context(|| format!("{} has no output", file.display()))?;
        let is_usable = matches!(
            output.dtype(),
            ValueType::Tensor { ty: TensorElementType::Float32, shape, .. } if shape.len() == 3
        );
        ensure!(
            is_usable,
            "{} answers with {}, which is {}; use a model with {OUTPUT}, a vector of 32 bit floats for each token",
            file.display(),
            output.name(),
            output.dtype()
        );
        let output = output.name().to_owned();
        Ok(Self { session, inputs, output, pooling: settings.pooling })
    }

    /// Computes the vectors of a batch, in its order.
    pub(super) fn compute(&mut self, batch: &Batch) -> anyhow::Result<Vec<Vec<f32>>> {
        let shape = batch.shape();
        let inputs = self.inputs.iter().map(|(name, input)| {
            let tensor = Tensor::from_array((shape, input.of(batch)))?;
            Ok((name.as_str(), SessionInputValue::from(tensor)))
        });
        let outputs = self.session.run(inputs.collect::<ort::Result<Vec<_>>>()?)?;
        let states = outputs.get(&self.output).context("the model has not answered")?;
        let (found, states) = states.try_extract_tensor::<f32>()?;
        let [texts, tokens] = shape;
        let dimensions = found.last().and_then(|last| usize::try_from(*last).ok()).unwrap_or_default();
        ensure!(states.len() == texts * tokens * dimensions && dimensions > 0, "the model has answered with {found}");
        let of_text = states.chunks_exact(tokens * dimensions).zip(batch.lengths());
        Ok(of_text.map(|(states, tokens)| pool(states, dimensions, tokens, self.pooling)).collect())
    }
}

fn load_runtime(library: Option<&Path>) -> anyhow::Result<Environment> {
    let library = library.map_or_else(|| PathBuf::from(format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}")), Path::to_owned);
    let remedy = || {
        format!(
            "the ONNX runtime cannot be used; set search.embeddings.runtime or ORT_DYLIB_PATH to the library of ONNX \
             Runtime 1.{} or later, for example libonnxruntime.so of the Python package onnxruntime",
            ort::MINOR_VERSION
        )
    };
    let builder = ort::init_from(library).with_context(remedy)?;
    let runtime = builder.with_name("colloquy").with_telemetry(false).build().with_context(remedy)?;
    // Otherwise the runtime logs errors to the console, with tokens in them.
    runtime.set_log_level(LogLevel::Fatal);
    Ok(runtime)
}

fn open(runtime: &Environment, file: &Path) -> ort::Result<Session> {
    let threads = thread::available_parallelism().map_or(1, |count| count.get().div_ceil(2).min(MOST_THREADS));
    let session = Session::builder(runtime)?
        .with_log_level(LogLevel::Fatal)?
        .with_intra_threads(threads)?
        .with_intra_op_spinning(false)?
        // A memory pattern is planned per shape, and hardly any two shapes are equal.
        .with_memory_pattern(false)?
        .commit_from_file(file)?;
    Ok(session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_inputs_are_given() {
        assert_eq!(Input::named("token_type_ids"), Some(Input::Types));
        assert_eq!(Input::named("pixel_values"), None);
    }

    #[test]
    fn a_folder_without_a_model_and_a_runtime_that_is_not_there_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Some(folder.path().join("libonnxruntime.so"));
        let settings = EmbeddingSettings { runtime, ..EmbeddingSettings::default() };
        let refusal = || format!("{:#}", Model::load(folder.path(), &settings).err().unwrap());
        assert!(refusal().contains("search.embeddings.path"));
        std::fs::write(folder.path().join("model.onnx"), "no model").unwrap();
        assert!(refusal().contains("search.embeddings.runtime or ORT_DYLIB_PATH"));
    }
}
