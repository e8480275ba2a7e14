//! Vectors quantized to one signed byte per dimension.
//!
//! A search reads the vectors of everything that a user has said. As bytes they take a quarter of the space of 32-bit
//! floats, and the ranking changes only between near-ties.

/// The direction of a vector. Its length is not kept: cosine similarity ignores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Direction {
    bytes: Vec<i8>,
    /// The squared length of `bytes`.
    square: i32,
}

impl Direction {
    pub(super) fn of(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(f32::MIN_POSITIVE, |largest, x| f32::max(largest, x.abs()));
        #[expect(clippy::cast_possible_truncation, reason = "it is -127 to 127")]
        let scaled = vector.iter().map(|x| (x / largest * 127.0).round() as i8);
        let bytes: Vec<i8> = scaled.collect();
        let square = bytes.iter().map(|x| i32::from(*x).pow(2)).sum();
        Self { bytes, square }
    }

    pub(super) fn dimensions(&self) -> usize {
        self.bytes.len()
    }

    /// The stored form.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.bytes.iter().map(|x| x.cast_unsigned()).collect()
    }

    /// The cosine similarity to a stored direction with the same number of dimensions, -1 to 1.
    pub(super) fn cosine(&self, stored: &[u8]) -> f64 {
        let (mut product, mut its) = (0_i32, 0_i32);
        for (x, y) in self.bytes.iter().zip(stored) {
            // 16-bit products fit more lanes into a SIMD register; even (-128)² fits.
            let (x, y) = (i16::from(*x), i16::from(y.cast_signed()));
            product += i32::from(x * y);
            its += i32::from(y * y);
        }
        f64::from(product) / (f64::from(self.square) * f64::from(its)).sqrt().max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cosine(one: &[f32], other: &[f32]) -> f64 {
        let dot = |one: &[f32], other: &[f32]| -> f64 {
            one.iter().zip(other).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum()
        };
        dot(one, other) / (dot(one, one) * dot(other, other)).sqrt()
    }

    #[test]
    fn only_the_direction_counts() {
        let direction = Direction::of(&[0.3, -0.4]);
        assert_eq!(direction, Direction::of(&[30.0, -40.0]));
        assert!((direction.cosine(&direction.to_bytes()) - 1.0).abs() < 1e-9);
        assert!((direction.cosine(&Direction::of(&[-0.3, 0.4]).to_bytes()) + 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn cosines_stay_what_they_were(
            pair in proptest::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 64..512)
        ) {
            let (one, other): (Vec<f32>, Vec<f32>) = pair.into_iter().unzip();
            let kept = Direction::of(&one).cosine(&Direction::of(&other).to_bytes());
            prop_assert!((kept - cosine(&one, &other)).abs() < 0.01);
        }
    }
}
