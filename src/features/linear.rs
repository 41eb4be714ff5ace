//! One affine map: the projection and every head are one.

use super::artefact::{Tensors, Wrong};

/// `y = x W + b`, weights stored input by input, so that the inner loop runs over outputs and vectorises.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Linear {
    /// Inputs times outputs, row after row.
    pub(crate) weight: Vec<f32>,
    /// One a output.
    pub(crate) bias: Vec<f32>,
}

impl Linear {
    /// The map called `name`, of these dimensions.
    pub(super) fn read(tensors: &Tensors<'_>, name: &str, inputs: usize, outputs: usize) -> Result<Self, Wrong> {
        Ok(Self {
            weight: tensors.read(&format!("{name}.weight"), &[inputs, outputs])?,
            bias: tensors.read(&format!("{name}.bias"), &[outputs])?,
        })
    }

    /// Writes the image of the inputs, each given with its place, to `into`; those not given are zero.
    pub(crate) fn apply(&self, inputs: impl Iterator<Item = (usize, f32)>, into: &mut [f32]) {
        let outputs = self.bias.len();
        into.copy_from_slice(&self.bias);
        for (place, x) in inputs {
            let row = &self.weight[place * outputs..][..outputs];
            for (y, &w) in into.iter_mut().zip(row) {
                *y += x * w;
            }
        }
    }

    /// The image of a dense vector, with the number of outputs known to the compiler.
    pub(crate) fn project<const N: usize>(&self, inputs: &[f32]) -> [f32; N] {
        let mut image = [0.0; N];
        image.copy_from_slice(&self.bias);
        for (&x, row) in inputs.iter().zip(self.weight.as_chunks::<N>().0) {
            for (y, &w) in image.iter_mut().zip(row) {
                *y += x * w;
            }
        }
        image
    }
}
