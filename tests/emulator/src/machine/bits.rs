//! Numbers of every type as the bits of a register, and back.

use half::{bf16, f16};

pub trait Bits: Copy {
    fn of(register: u64) -> Self;
    fn bits(self) -> u64;
}

macro_rules! integers {
    ($($signed:ty, $unsigned:ty);*) => {$(
        impl Bits for $unsigned {
            fn of(register: u64) -> Self { register as $unsigned }
            fn bits(self) -> u64 { u64::from(self) }
        }
        impl Bits for $signed {
            fn of(register: u64) -> Self { register as $signed }
            fn bits(self) -> u64 { u64::from(self as $unsigned) }
        }
    )*};
}
integers!(i8, u8; i16, u16; i32, u32; i64, u64);

impl Bits for bool {
    fn of(register: u64) -> Self {
        register & 1 != 0
    }
    fn bits(self) -> u64 {
        u64::from(self)
    }
}

impl Bits for f32 {
    fn of(register: u64) -> Self {
        f32::from_bits(register as u32)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Bits for f64 {
    fn of(register: u64) -> Self {
        f64::from_bits(register)
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

impl Bits for f16 {
    fn of(register: u64) -> Self {
        f16::from_bits(register as u16)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Bits for bf16 {
    fn of(register: u64) -> Self {
        bf16::from_bits(register as u16)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

/// Two numbers of 16 bits in one register, the first in the lower half.
#[derive(Clone, Copy)]
pub struct Pair<T>(pub T, pub T);

impl<T: Bits> Bits for Pair<T> {
    fn of(register: u64) -> Self {
        Pair(T::of(register), T::of(register >> 16))
    }
    fn bits(self) -> u64 {
        self.0.bits() | (self.1.bits() << 16)
    }
}

/// Floating-point numbers of 16 bits, through f32.
pub trait Short: Bits {
    fn wide(self) -> f32;
    fn rounded(value: f32) -> Self;
}
impl Short for f16 {
    fn wide(self) -> f32 {
        self.to_f32()
    }
    fn rounded(value: f32) -> Self {
        f16::from_f32(value)
    }
}
impl Short for bf16 {
    fn wide(self) -> f32 {
        self.to_f32()
    }
    fn rounded(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

/// The f32 next to an exact value in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Nearest,
    Zero,
    Down,
    Up,
}

pub fn round_f32(exact: f64, direction: Direction) -> f32 {
    let nearest = exact as f32;
    let above = f64::from(nearest) > exact;
    let below = f64::from(nearest) < exact;
    match direction {
        Direction::Nearest => nearest,
        Direction::Down if above => nearest.next_down(),
        Direction::Up if below => nearest.next_up(),
        Direction::Zero if exact > 0.0 && above => nearest.next_down(),
        Direction::Zero if exact < 0.0 && below => nearest.next_up(),
        _ => nearest,
    }
}
