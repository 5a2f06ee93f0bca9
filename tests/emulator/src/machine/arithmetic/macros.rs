//! Arithmetic on the lanes of registers from arithmetic on numbers: the operands' types and what
//! is made of them.

macro_rules! one {
    ($t:ty, |$a:ident| $result:expr) => {{
        fn run(registers: &mut [Lanes], slots: &Slots, mask: u32) {
            let mut out = [0u64; 32];
            let a = &registers[slots[1] as usize];
            for lane in 0..32 {
                let $a = <$t as Bits>::of(a[lane]);
                out[lane] = Bits::bits($result);
            }
            write(registers, slots[0], &out, mask);
        }
        run as Arithmetic
    }};
}

macro_rules! two {
    ($t:ty, |$a:ident, $b:ident| $result:expr) => {
        two!($t, $t, |$a, $b| $result)
    };
    ($t:ty, $u:ty, |$a:ident, $b:ident| $result:expr) => {{
        fn run(registers: &mut [Lanes], slots: &Slots, mask: u32) {
            let mut out = [0u64; 32];
            let (a, b) = (&registers[slots[1] as usize], &registers[slots[2] as usize]);
            for lane in 0..32 {
                let $a = <$t as Bits>::of(a[lane]);
                let $b = <$u as Bits>::of(b[lane]);
                out[lane] = Bits::bits($result);
            }
            write(registers, slots[0], &out, mask);
        }
        run as Arithmetic
    }};
}

macro_rules! three {
    ($t:ty, |$a:ident, $b:ident, $c:ident| $result:expr) => {
        three!($t, $t, $t, |$a, $b, $c| $result)
    };
    ($t:ty, $u:ty, $v:ty, |$a:ident, $b:ident, $c:ident| $result:expr) => {{
        fn run(registers: &mut [Lanes], slots: &Slots, mask: u32) {
            let mut out = [0u64; 32];
            let a = &registers[slots[1] as usize];
            let b = &registers[slots[2] as usize];
            let c = &registers[slots[3] as usize];
            for lane in 0..32 {
                let $a = <$t as Bits>::of(a[lane]);
                let $b = <$u as Bits>::of(b[lane]);
                let $c = <$v as Bits>::of(c[lane]);
                out[lane] = Bits::bits($result);
            }
            write(registers, slots[0], &out, mask);
        }
        run as Arithmetic
    }};
}

macro_rules! four {
    ($t:ty, $u:ty, $v:ty, $w:ty, |$a:ident, $b:ident, $c:ident, $d:ident| $result:expr) => {{
        fn run(registers: &mut [Lanes], slots: &Slots, mask: u32) {
            let mut out = [0u64; 32];
            let a = &registers[slots[1] as usize];
            let b = &registers[slots[2] as usize];
            let c = &registers[slots[3] as usize];
            let d = &registers[slots[4] as usize];
            for lane in 0..32 {
                let $a = <$t as Bits>::of(a[lane]);
                let $b = <$u as Bits>::of(b[lane]);
                let $c = <$v as Bits>::of(c[lane]);
                let $d = <$w as Bits>::of(d[lane]);
                out[lane] = Bits::bits($result);
            }
            write(registers, slots[0], &out, mask);
        }
        run as Arithmetic
    }};
}

/// An operation on integers of all sizes.
macro_rules! integer_kinds {
    ($kind:expr, |$a:ident, $b:ident| $result:expr) => {
        match $kind {
            "u16" | "b16" => Some((two!(u16, |$a, $b| $result), 2)),
            "s16" => Some((two!(i16, |$a, $b| $result), 2)),
            "u32" | "b32" => Some((two!(u32, |$a, $b| $result), 2)),
            "s32" => Some((two!(i32, |$a, $b| $result), 2)),
            "u64" | "b64" => Some((two!(u64, |$a, $b| $result), 2)),
            "s64" => Some((two!(i64, |$a, $b| $result), 2)),
            _ => None,
        }
    };
}

/// An operation on f16, bf16 and pairs of them, in f32.
macro_rules! short_kinds_of_two {
    ($kind:expr, $f:expr) => {
        match $kind {
            "f16" => Some((two!(f16, |a, b| short2(a, b, $f)), 2)),
            "bf16" => Some((two!(bf16, |a, b| short2(a, b, $f)), 2)),
            "f16x2" => Some((
                two!(Pair<f16>, |a, b| Pair(
                    short2(a.0, b.0, $f),
                    short2(a.1, b.1, $f)
                )),
                2,
            )),
            "bf16x2" => Some((
                two!(Pair<bf16>, |a, b| Pair(
                    short2(a.0, b.0, $f),
                    short2(a.1, b.1, $f)
                )),
                2,
            )),
            _ => None,
        }
    };
}
