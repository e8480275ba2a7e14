//! Combines the vectors of a text's tokens into one.

use crate::config::Pooling;

/// The vector of a text, normalized to length 1. `states` has `dimensions` numbers per token, with the padding last.
pub(super) fn pool(states: &[f32], dimensions: usize, tokens: usize, pooling: Pooling) -> Vec<f32> {
    let counted = match pooling {
        Pooling::Mean => tokens,
        Pooling::Cls => 1,
    };
    let mut vector = vec![0.0; dimensions];
    for state in states.chunks_exact(dimensions.max(1)).take(counted) {
        for (sum, x) in vector.iter_mut().zip(state) {
            *sum += x;
        }
    }
    // Normalization makes the division by the number of tokens unnecessary.
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        for x in &mut vector {
            *x /= length;
        }
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two tokens and one padding token.
    const STATES: [f32; 6] = [3.0, 0.0, 0.0, 4.0, 100.0, 100.0];

    #[test]
    fn the_mean_leaves_the_padding_out() {
        assert_eq!(pool(&STATES, 2, 2, Pooling::Mean), [0.6, 0.8]);
    }

    #[test]
    fn cls_is_the_first_token() {
        assert_eq!(pool(&STATES, 2, 2, Pooling::Cls), [1.0, 0.0]);
    }

    #[test]
    fn nothing_points_nowhere() {
        assert_eq!(pool(&[0.0, 0.0], 2, 1, Pooling::Mean), [0.0, 0.0]);
    }
}
