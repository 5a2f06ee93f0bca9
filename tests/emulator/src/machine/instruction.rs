//! What a warp executes: PTX with registers, labels and symbols resolved.

/// A register of a warp: one value of up to 64 bits in each lane, the upper bits of narrower ones
/// undefined.
pub type Lanes = [u64; 32];

/// Slots of the operands in the register file; the first is the result's.
pub type Slots = [u32; 5];

/// Arithmetic on the lanes of a mask.
pub type Arithmetic = fn(&mut [Lanes], &Slots, u32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    Global,
    Shared,
    Local,
    Parameter,
    Generic,
}

/// Register plus offset.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    pub space: Space,
    pub base: u32,
    pub offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareAndSwap,
}

/// Kinds of number of an atomic operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Unsigned32,
    Signed32,
    Unsigned64,
    Signed64,
    Float16,
    BFloat16,
    Float32,
    Float64,
}

/// Which numbers a matrix product multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor {
    Half,
    BFloat,
}

#[derive(Debug, Clone)]
pub enum Operation {
    Arithmetic(Arithmetic, Slots),
    /// Registers, bytes of each, whether to extend the sign.
    Load {
        address: Address,
        values: Vec<u32>,
        bytes: u8,
        signed: bool,
    },
    Store {
        address: Address,
        values: Vec<u32>,
        bytes: u8,
    },
    Atomic {
        address: Address,
        update: Update,
        number: Number,
        result: Option<u32>,
        operand: u32,
        replacement: u32,
    },
    Branch(usize),
    Exit,
    /// A barrier of the block: its number, and how many threads take part if not all.
    Barrier {
        number: u32,
        threads: Option<u32>,
        waits: bool,
    },
    WarpBarrier {
        members: u32,
    },
    ClusterArrive,
    ClusterWait,
    /// The same place in the shared memory of another block of the cluster.
    MapToBlock {
        result: u32,
        address: u32,
        block: u32,
        generic: bool,
    },
    Shuffle {
        kind: Shuffle,
        result: u32,
        valid: Option<u32>,
        value: u32,
        lane: u32,
        clamp: u32,
        members: u32,
    },
    Vote {
        kind: Vote,
        result: u32,
        value: u32,
        negated: bool,
        members: u32,
    },
    /// The values of all members, combined.
    Reduce {
        update: Update,
        number: Number,
        result: u32,
        value: u32,
        members: u32,
    },
    ActiveMask {
        result: u32,
    },
    /// `result = left * right + addend`, 16 x 8, of `terms` products.
    MatrixProduct {
        factor: Factor,
        terms: usize,
        float_sum: bool,
        result: Vec<u32>,
        left: Vec<u32>,
        right: Vec<u32>,
        addend: Vec<u32>,
    },
    LoadMatrices {
        transposed: bool,
        result: Vec<u32>,
        address: Address,
    },
    StoreMatrices {
        transposed: bool,
        values: Vec<u32>,
        address: Address,
    },
    TransposeMatrix {
        result: u32,
        value: u32,
    },
    /// A copy that is there only after it has been waited for.
    AsynchronousCopy {
        to: Address,
        from: Address,
        bytes: usize,
        read: Option<u32>,
    },
    /// A barrier in shared memory, of so many arrivals and of bytes that copies bring.
    CreatePhases {
        address: Address,
        count: u32,
    },
    ArriveAtPhase {
        address: Address,
        bytes: Option<u32>,
    },
    /// Until the phase of this parity is over.
    WaitForPhase {
        result: u32,
        address: Address,
        parity: u32,
    },
    /// A copy by the asynchronous engine, of which a barrier counts the bytes.
    BulkCopy {
        to: Address,
        from: Address,
        bytes: u32,
        barrier: Address,
    },
    EndCopies,
    WaitForCopies {
        groups_left: usize,
        /// Of those that belong to no group yet, too.
        all: bool,
    },
    Nothing,
    /// Not understood, or an error of the kernel's own.
    Trap(String),
}

#[derive(Debug, Clone)]
pub struct Instruction {
    pub operation: Operation,
    /// Register of the predicate, whether it is negated.
    pub guard: Option<(u32, bool)>,
}

/// A kernel's code.
#[derive(Debug, Default)]
pub struct Code {
    pub instructions: Vec<Instruction>,
    /// PTX of each instruction, for messages.
    pub texts: Vec<String>,
    pub registers: usize,
    pub constants: Vec<(u32, u64)>,
    /// Registers that hold what differs by thread or block.
    pub special: Vec<(u32, Special)>,
    /// Bytes of each thread's own memory.
    pub local_bytes: usize,
}

impl Code {
    /// Bytes of the smallest access that may be one of shared memory, at most two.
    pub fn smallest_access(&self) -> usize {
        let single = |instruction: &Instruction| match &instruction.operation {
            Operation::Load { address, bytes, .. } | Operation::Store { address, bytes, .. } => {
                *bytes == 1 && matches!(address.space, Space::Shared | Space::Generic)
            }
            _ => false,
        };
        match self.instructions.iter().any(single) {
            true => 1,
            false => 2,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    Thread(usize),
    Block(usize),
    Threads(usize),
    Blocks(usize),
    Lane,
    Warp,
    LaneMaskBelow,
    Cluster(usize),
    BlockInCluster(usize),
    BlocksOfCluster(usize),
    BlockRankInCluster,
    ClusterBlocks,
    DynamicSharedBytes,
}
