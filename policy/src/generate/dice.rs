//! A tiny seeded generator of random numbers (splitmix64): the same numbers on every machine, for ever.

use std::collections::VecDeque;

/// Random choices from a seed, or from bytes that somebody chose.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
    /// What is given out before any number of the seed's.
    chosen: VecDeque<u8>,
}

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds are numbers of one sequence in splitmix64; spread them first.
        let spread = seed.wrapping_mul(0xd134_2543_de82_ef95);
        Self {
            state: spread.wrapping_add(0x2545_f491_4f6c_dd1d),
            chosen: VecDeque::new(),
        }
    }

    /// Dice that fall as `bytes` say, two for each choice, and behind their end as those of seed 0 do: whoever changes
    /// a byte changes one choice.
    pub fn chosen(bytes: &[u8]) -> Self {
        Self {
            chosen: bytes.iter().copied().collect(),
            ..Self::new(0)
        }
    }

    /// The next 64 bits; 16 where they are chosen ones.
    pub fn bits(&mut self) -> u64 {
        if let Some(low) = self.chosen.pop_front() {
            let high = self.chosen.pop_front().unwrap_or(0);
            return u16::from_le_bytes([low, high]).into();
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    /// True in `hits` of `of` cases.
    pub fn chance(&mut self, hits: u64, of: u64) -> bool {
        self.bits() % of < hits
    }

    /// One of `choices`, which is not empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let length = choices.len() as u64;
        let index = usize::try_from(self.bits() % length).unwrap_or(0);
        &choices[index]
    }

    /// One of `choices`; none where there is none.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        (!choices.is_empty()).then(|| self.pick(choices))
    }

    /// `most` choices at most, in the order of the list, perhaps none.
    pub fn some<T: Clone>(&mut self, choices: &[T], most: usize) -> Vec<T> {
        let mut chosen = Vec::new();
        for choice in choices {
            if chosen.len() < most && self.chance(1, 3) {
                chosen.push(choice.clone());
            }
        }
        chosen
    }
}
