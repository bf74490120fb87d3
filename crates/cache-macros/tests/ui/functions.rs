//! Functions that cannot be memoised.

use vitte_cache::cached;

#[cached]
struct NoFunction;

#[cached]
const fn a_const(a: u8) -> u8 {
    a
}

#[cached]
unsafe fn an_unsafe(a: u8) -> u8 {
    a
}

#[cached]
extern "C" fn for_others(a: u8) -> u8 {
    a
}

#[cached]
fn nothing(a: u8) {
    let _ = a;
}

#[cached]
fn anything(a: u8) -> impl Copy {
    a
}

#[cached]
fn writes(a: &mut u8) -> u8 {
    *a += 1;
    *a
}

#[cached]
fn nameless((a, b): (u8, u8)) -> u8 {
    a + b
}

#[cached]
fn generic<T: Copy>(a: u8) -> u8 {
    a
}

#[cached]
fn implied(a: u8, b: impl Fn() -> u8) -> u8 {
    a + b()
}

struct Counter(u8);

impl Counter {
    #[cached]
    fn what_of_self(&self, a: u8) -> u8 {
        self.0 + a
    }

    #[cached(key = a)]
    fn counts(&mut self, a: u8) -> u8 {
        self.0 += a;
        self.0
    }
}

trait Counts {
    #[cached(key = ())]
    fn without_a_body(&self) -> u8;
}

fn main() {}
