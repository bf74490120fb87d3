//! The shape of a value: what its type told serde, or asked of it, step by step.

use cache_core::{Fingerprint, Fingerprinter};

use super::MAX_DEPTH;
use super::error::Problem;

/// What a step is about. The numbers are part of the format: never renumbered.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Bool = 1,
    I8 = 2,
    I16 = 3,
    I32 = 4,
    I64 = 5,
    I128 = 6,
    U8 = 7,
    U16 = 8,
    U32 = 9,
    U64 = 10,
    U128 = 11,
    F32 = 12,
    F64 = 13,
    Char = 14,
    Str = 15,
    Bytes = 16,
    Unit = 17,
    None = 18,
    Some = 19,
    UnitStruct = 20,
    NewtypeStruct = 21,
    Seq = 22,
    Tuple = 23,
    TupleStruct = 24,
    Map = 25,
    Struct = 26,
    Field = 27,
    UnitVariant = 28,
    NewtypeVariant = 29,
    TupleVariant = 30,
    StructVariant = 31,
    End = 32,
}

/// The outcome of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) fingerprint: Fingerprint,
    pub(super) steps: u64,
}

/// A [`Shape`] in the making.
///
/// Every step is written as its number, followed by what belongs to it: names as length and bytes, counts as eight
/// bytes. A list is a bracket (`Seq` … `End`), so that no two different traces are the same bytes.
pub(super) struct Trace {
    hash: Fingerprinter,
    /// A leaf and how often it has come in a row: a list of a million numbers is hashed as one step.
    run: (Step, u64),
    steps: u64,
    limit: u64,
    depth: u32,
}

impl Trace {
    /// Returns a trace that fails after `limit` steps.
    pub(super) fn new(limit: u64) -> Self {
        Self { hash: Fingerprinter::new(), run: (Step::End, 0), steps: 0, limit, depth: 0 }
    }

    fn step(&mut self) -> Result<(), Problem> {
        self.steps += 1;
        if self.steps > self.limit { Err(Problem::Malformed) } else { Ok(()) }
    }

    /// Returns how many steps are left.
    pub(super) fn left(&self) -> u64 {
        self.limit - self.steps.min(self.limit)
    }

    /// Takes a step that is only a kind.
    #[inline]
    pub(super) fn leaf(&mut self, step: Step) -> Result<(), Problem> {
        self.step()?;
        if self.run.0 != step {
            self.flush();
            self.run.0 = step;
        }
        self.run.1 += 1;
        Ok(())
    }

    /// Takes a step with a name, such as that of a struct, and a count, such as that of its fields.
    pub(super) fn named(&mut self, step: Step, name: &str, count: u64) -> Result<(), Problem> {
        self.step()?;
        self.flush();
        self.write(step, name);
        self.hash.update(&count.to_le_bytes());
        Ok(())
    }

    /// Takes the step into a variant of an enum.
    pub(super) fn variant(
        &mut self,
        step: Step,
        name: &str,
        (index, variant): (u32, &str),
        count: u64,
    ) -> Result<(), Problem> {
        self.named(step, name, count)?;
        self.hash.update(&index.to_le_bytes());
        self.text(variant);
        Ok(())
    }

    /// Goes one level down. This is a step, so that even a list of things that ask for nothing comes to an end.
    pub(super) fn enter(&mut self) -> Result<(), Problem> {
        self.step()?;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Problem::TooDeep) } else { Ok(()) }
    }

    /// Comes back from one level down.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn finish(mut self) -> Shape {
        self.flush();
        Shape { fingerprint: self.hash.finish(), steps: self.steps }
    }

    fn write(&mut self, step: Step, name: &str) {
        self.hash.update(&[step as u8]);
        self.text(name);
    }

    fn text(&mut self, text: &str) {
        self.hash.update(&(text.len() as u64).to_le_bytes());
        self.hash.update(text.as_bytes());
    }

    fn flush(&mut self) {
        if self.run.1 > 0 {
            self.hash.update(&[self.run.0 as u8]);
            self.hash.update(&self.run.1.to_le_bytes());
            self.run.1 = 0;
        }
    }
}
