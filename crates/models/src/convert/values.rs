//! The values of a tensor of the file: those of a tensor of the source, chosen, reordered or shifted, or computed ones.

use super::Error;
use super::source::RawTensor;

pub(super) enum Values<'a> {
    /// Rows of a tensor of the source, each value perhaps increased by one.
    Tensor { source: RawTensor<'a>, rows: Rows, plus_one: bool },
    /// Values of their own.
    Computed { shape: Vec<u64>, values: Vec<f32> },
}

/// Which rows of a tensor, in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// From one on to the last.
    From(u64),
    /// All, so that of each head row `i` of the first half is followed by row `i` of the second.
    Interleaved { heads: u64 },
    /// These.
    Chosen(Vec<u64>),
    /// All, those of so many experts one after the other, with a dimension for the experts.
    OfExperts { count: u64 },
    /// The same with each expert's matrix turned.
    OfExpertsTurned { count: u64 },
}

impl Values<'_> {
    /// Outermost dimension first.
    pub(super) fn shape(&self) -> Vec<u64> {
        match self {
            Values::Computed { shape, .. } => shape.clone(),
            Values::Tensor { source, rows, .. } => {
                let mut shape = source.view.shape.clone();
                match (rows, &shape[..]) {
                    (Rows::OfExperts { count }, &[all, columns]) => return vec![*count, all / count, columns],
                    (Rows::OfExpertsTurned { count }, &[all, columns]) => return vec![*count, columns, all / count],
                    _ => {}
                }
                if let Some(count) = shape.first_mut() {
                    *count = match rows {
                        Rows::From(first) => count.saturating_sub(*first),
                        Rows::Interleaved { .. } | Rows::OfExperts { .. } | Rows::OfExpertsTurned { .. } => *count,
                        Rows::Chosen(rows) => rows.len() as u64,
                    };
                }
                shape
            }
        }
    }

    pub(super) fn elements(&self) -> u64 {
        self.shape().iter().product() // no more than the source has
    }

    /// Decodes the elements from `start` on into `out`, as many as it takes, and checks that each is finite.
    pub(super) fn decode(&self, start: usize, out: &mut [f32]) -> Result<(), Error> {
        match self {
            Values::Computed { values, .. } => out.copy_from_slice(&values[start..start + out.len()]),
            Values::Tensor { source, rows, plus_one } => {
                decode_rows(source, rows, start, out)?;
                if *plus_one {
                    out.iter_mut().for_each(|value| *value += 1.0);
                }
            }
        }
        Ok(())
    }
}

fn decode_rows(source: &RawTensor<'_>, rows: &Rows, start: usize, out: &mut [f32]) -> Result<(), Error> {
    let columns: usize = source.view.shape.iter().skip(1).product::<u64>() as usize; // of a tensor in memory
    let total = source.view.shape.first().copied().unwrap_or(1);
    if let Rows::OfExpertsTurned { count } = rows {
        let inner = (total / count) as usize;
        for (place, value) in (start..).zip(out) {
            let (expert, column, row) = (place / (inner * columns), place / inner % columns, place % inner);
            source.decode((expert * inner + row) * columns + column, std::slice::from_mut(value))?;
        }
        return Ok(());
    }
    let place = |row: u64| match rows {
        Rows::From(first) => row + first,
        Rows::OfExperts { .. } | Rows::OfExpertsTurned { .. } => row,
        Rows::Interleaved { heads } => {
            let dim = total / heads;
            let (head, within) = (row / dim, row % dim);
            head * dim + within % 2 * (dim / 2) + within / 2
        }
        Rows::Chosen(rows) => rows[row as usize],
    };
    if let Rows::From(first) = rows {
        return source.decode(start + *first as usize * columns, out);
    }
    let mut done = 0;
    while done < out.len() {
        let (row, column) = ((start + done) / columns, (start + done) % columns);
        let count = (columns - column).min(out.len() - done);
        source.decode(place(row as u64) as usize * columns + column, &mut out[done..done + count])?;
        done += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use docent_gguf::TensorType;

    use super::*;
    use crate::source::TensorView;

    #[test]
    fn experts_get_a_dimension_and_are_turned() {
        let bytes: Vec<u8> = (0..12u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let values = |rows| {
            let view = TensorView { name: "t", shape: vec![4, 3], ty: TensorType::F32, bytes: &bytes, plus_one: false };
            Values::Tensor { source: RawTensor { file: Path::new("f"), view }, rows, plus_one: false }
        };
        assert_eq!(values(Rows::OfExperts { count: 2 }).shape(), [2, 2, 3]);
        let turned = values(Rows::OfExpertsTurned { count: 2 });
        assert_eq!(turned.shape(), [2, 3, 2]);
        let mut out = [0.0; 12];
        let (first, rest) = out.split_at_mut(5);
        turned.decode(0, first).unwrap();
        turned.decode(5, rest).unwrap();
        assert_eq!(out, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
    }

    #[test]
    fn rows_are_chosen_reordered_and_cut_wherever_a_piece_begins() {
        let bytes: Vec<u8> = (0..24u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
        let values = |rows| {
            let view = TensorView { name: "t", shape: vec![8, 3], ty: TensorType::F32, bytes: &bytes, plus_one: false };
            Values::Tensor { source: RawTensor { file: Path::new("f"), view }, rows, plus_one: true }
        };
        for (rows, expected) in [
            (Rows::From(6), vec![6, 7]),
            (Rows::Interleaved { heads: 2 }, vec![0, 2, 1, 3, 4, 6, 5, 7]),
            (Rows::Interleaved { heads: 1 }, vec![0, 4, 1, 5, 2, 6, 3, 7]),
            (Rows::Chosen(vec![5, 0]), vec![5, 0]),
            (Rows::OfExperts { count: 4 }, vec![0, 1, 2, 3, 4, 5, 6, 7]),
        ] {
            let expected: Vec<f32> =
                expected.iter().flat_map(|&row| (0..3).map(move |column| (3 * row + column + 1) as f32)).collect();
            let values = values(rows);
            assert_eq!(values.elements() as usize, expected.len());
            for piece in 1..=expected.len() {
                let mut out = vec![0.0; expected.len()];
                for start in (0..out.len()).step_by(piece) {
                    let end = out.len().min(start + piece);
                    values.decode(start, &mut out[start..end]).unwrap();
                }
                assert_eq!(out, expected);
            }
        }
    }
}
