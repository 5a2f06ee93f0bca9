//! Kernels in PTX by hand, each for one thing that a device does.

use cuda_emulator::machine::{run, Launch};
use cuda_emulator::memory;
use cuda_emulator::ptx::Module;

/// A kernel of one parameter, the address of the output, with this body.
fn kernel(directives: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n\
         .extern .shared .align 16 .b8 dynamic[];\n\
         .visible .entry test(.param .u64 out) {directives}\n{{\n\
         .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<30>; .reg .f32 %f<30>; .reg .b64 %rd<9>;\n\
         ld.param.u64 %rd0, [out];\n cvta.to.global.u64 %rd0, %rd0;\n mov.u32 %r0, %tid.x;\n\
         mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.s32 %r3, %r1, %r2, %r0;\n\
         mul.wide.u32 %rd1, %r3, 4; add.s64 %rd1, %rd0, %rd1; // where thread %r3 writes\n\
         {body}\n ret;\n}}\n"
    )
}

fn launch(blocks: u32, threads: u32) -> Launch {
    Launch {
        grid: [blocks, 1, 1],
        block: [threads, 1, 1],
        cluster: [1, 1, 1],
        dynamic_shared_bytes: 1024,
        watch_races: false,
    }
}

/// What the kernel leaves in `words` words of output.
fn output(text: &str, launch: Launch, words: usize) -> Result<Vec<u32>, String> {
    let module = Module::parse(text)?;
    let kernel = module.kernels.get("test").ok_or("no kernel")?;
    let address = memory::allocate(4 * words).ok_or("no memory")?;
    let result = run(kernel, &launch, &address.to_le_bytes());
    // SAFETY: the allocation has that many words.
    let words = unsafe { std::slice::from_raw_parts(address as *const u32, words) }.to_vec();
    assert!(memory::free(address));
    result.map(|()| words)
}

#[test]
fn threads_write_their_numbers() {
    let text = kernel("", "st.global.u32 [%rd1], %r3;");
    let words = output(&text, launch(3, 50), 150).unwrap();
    assert!(words.iter().copied().eq(0..150));
}

#[test]
fn beyond_an_allocation_is_an_error() {
    let text = kernel("", "st.global.u32 [%rd1], %r3;");
    let message = output(&text, launch(1, 33), 32).unwrap_err();
    assert!(message.contains("thread 32"), "{message}");
}

#[test]
fn lanes_part_and_meet() {
    // Odd lanes take another way; afterwards all exchange values.
    let text = kernel(
        "",
        "and.b32 %r4, %r0, 1; setp.eq.u32 %p1, %r4, 1; mov.u32 %r5, 100; @%p1 bra ODD;\n\
         add.u32 %r5, %r0, 1000; bra.uni MEET;\n\
         ODD: add.u32 %r5, %r0, 2000;\n\
         MEET: shfl.sync.bfly.b32 %r6, %r5, 1, 31, -1; st.global.u32 [%rd1], %r6;",
    );
    let words = output(&text, launch(1, 32), 32).unwrap();
    for (lane, &word) in (0u32..).zip(&words) {
        let other = lane ^ 1;
        let expected = if other % 2 == 1 { 2000 } else { 1000 } + other;
        assert_eq!(word, expected, "lane {lane}");
    }
}

#[test]
fn loops_of_different_lengths() {
    let text = kernel(
        "",
        "mov.u32 %r4, 0; mov.u32 %r5, 0;\n\
         AGAIN: setp.ge.u32 %p1, %r4, %r0; @%p1 bra DONE; add.u32 %r5, %r5, %r4;\n\
         add.u32 %r4, %r4, 1; bra.uni AGAIN;\n DONE: st.global.u32 [%rd1], %r5;",
    );
    let words = output(&text, launch(1, 64), 64).unwrap();
    for (thread, &word) in (0u32..).zip(&words) {
        assert_eq!(
            word,
            thread * thread.wrapping_sub(1) / 2 % (1 << 31),
            "{thread}"
        );
    }
}

const REVERSED: &str = "mov.u32 %r4, dynamic; shl.b32 %r5, %r0, 2; add.u32 %r6, %r4, %r5;\n\
     st.shared.u32 [%r6], %r3; BARRIER\n\
     sub.u32 %r7, %r2, %r0; shl.b32 %r7, %r7, 2; add.u32 %r7, %r7, %r4;\n\
     ld.shared.u32 %r8, [%r7+-4]; st.global.u32 [%rd1], %r8;";

#[test]
fn barriers_order_shared_memory() {
    let text = kernel("", &REVERSED.replace("BARRIER", "bar.sync 0;"));
    let words = output(&text, launch(2, 128), 256).unwrap();
    for (index, &word) in words.iter().enumerate() {
        assert_eq!(word as usize, index / 128 * 128 + 127 - index % 128);
    }
}

#[test]
fn what_was_never_written_reads_as_ones() {
    // Without the barrier the first warp reads what the second has not written.
    let text = kernel("", &REVERSED.replace("BARRIER", ""));
    let words = output(&text, launch(1, 64), 64).unwrap();
    assert_eq!(words[0], u32::MAX);
}

#[test]
fn races_are_seen() {
    let watched = |blocks| Launch {
        watch_races: true,
        ..launch(blocks, 128)
    };
    let ordered = kernel("", &REVERSED.replace("BARRIER", "bar.sync 0;"));
    assert!(output(&ordered, watched(2), 256).is_ok());
    let racing = kernel("", &REVERSED.replace("BARRIER", ""));
    let message = output(&racing, watched(2), 256).unwrap_err();
    assert!(message.contains("raced"), "{message}");
    // Within one warp too.
    let own = REVERSED
        .replace("BARRIER", "")
        .replace("%r2, %r0;", "31, %r0;");
    let racing = kernel("", &own.replace("[%r7+-4]", "[%r7]"));
    let one_warp = Launch {
        watch_races: true,
        ..launch(1, 32)
    };
    let message = output(&racing, one_warp, 32).unwrap_err();
    assert!(message.contains("raced"), "{message}");
}

#[test]
fn neighbouring_bytes_do_not_race() {
    let watched = Launch {
        watch_races: true,
        ..launch(1, 32)
    };
    let body = "mov.u32 %r4, dynamic; add.u32 %r5, %r4, %r0; mov.u16 %h1, 1; mov.u16 %h2, 2;\n\
         st.shared.u8 [%r5], %h1; st.shared.u8 [%r5], %h2; st.global.u32 [%rd1], %r0;";
    assert!(output(&kernel("", body), watched, 32).is_ok());
    // The second time at the neighbour's place.
    let racing = kernel("", &body.replace("[%r5], %h2", "[%r5+1], %h2"));
    let message = output(&racing, watched, 32).unwrap_err();
    assert!(message.contains("raced"), "{message}");
}

#[test]
fn a_barrier_that_some_never_reach() {
    let text = kernel(
        "",
        "setp.lt.u32 %p1, %r0, 32; @%p1 bra LATER; bar.sync 1, 64; LATER: bar.sync 2, 64;",
    );
    let message = output(&text, launch(1, 64), 64).unwrap_err();
    assert!(message.contains("for ever"), "{message}");
}

#[test]
fn a_called_function() {
    let text = kernel(
        "",
        "{ .param .b32 param0; st.param.b32 [param0+0], %r0; .param .b32 retval0;\n\
         call.uni (retval0), square, (param0); ld.param.b32 %r9, [retval0+0]; }\n\
         st.global.u32 [%rd1], %r9;",
    );
    let function = ".func (.param .b32 result) square(.param .b32 value)\n{ .reg .b32 %r<9>;\n\
                    ld.param.u32 %r1, [value]; mul.lo.u32 %r2, %r1, %r1;\n\
                    st.param.b32 [result+0], %r2; ret; }\n";
    let words = output(&(text + function), launch(1, 40), 40).unwrap();
    assert!((0u32..).zip(words).all(|(x, y)| y == x * x));
}

#[test]
fn shared_memory_of_a_called_function() {
    let text = kernel(
        "",
        "{ call.uni reverse, (); }\n bar.sync 0; mov.u32 %r4, kept; shl.b32 %r5, %r0, 2;\n\
         add.u32 %r6, %r4, %r5; ld.shared.u32 %r7, [%r6]; st.global.u32 [%rd1], %r7;",
    );
    let function = ".shared .align 4 .b8 kept[256];\n.func reverse()\n{ .reg .b32 %r<9>;\n\
                    mov.u32 %r1, %tid.x; sub.u32 %r2, 63, %r1; shl.b32 %r3, %r2, 2;\n\
                    mov.u32 %r4, kept; add.u32 %r5, %r4, %r3; st.shared.u32 [%r5], %r1; ret; }\n";
    let words = output(&(text + function), launch(1, 64), 64).unwrap();
    assert!((0u32..64).rev().eq(words));
}

#[test]
fn halves_of_words() {
    let text = kernel(
        "",
        "cvt.rn.f32.u32 %f1, %r0; cvt.rn.f16.f32 %h1, %f1; mov.b32 %r4, {%h1, %h1};\n\
         mov.u32 %r5, 0x40003c00; fma.rn.f16x2 %r6, %r4, %r5, %r5; st.global.u32 [%rd1], %r6;",
    );
    let words = output(&text, launch(1, 32), 32).unwrap();
    for (lane, &word) in words.iter().enumerate() {
        let half = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
        assert_eq!(half(word), lane as f32 + 1.0);
        assert_eq!(half(word >> 16), 2.0 * lane as f32 + 2.0);
    }
}

#[test]
fn a_product_of_matrices() {
    // left[row][column] = 1 on the diagonal, right[row][column] = row: the result is right, of
    // which only the first 16 rows count.
    let text = kernel(
        "",
        "shr.u32 %r4, %r0, 2; and.b32 %r5, %r0, 3; shl.b32 %r6, %r5, 1;\n\
         mov.u32 %r10, 0; sub.u32 %r7, %r4, %r6; setp.eq.u32 %p1, %r7, 0;\n\
         @%p1 mov.u32 %r10, 0x3c00; setp.eq.u32 %p2, %r7, 1; @%p2 mov.u32 %r10, 0x3c000000;\n\
         cvt.rn.f32.u32 %f1, %r6; add.u32 %r8, %r6, 1; cvt.rn.f32.u32 %f2, %r8;\n\
         cvt.rn.f16x2.f32 %r11, %f2, %f1;\n\
         add.f32 %f3, %f1, 0f41000000; add.f32 %f4, %f2, 0f41000000;\n\
         cvt.rn.f16x2.f32 %r12, %f4, %f3; mov.u32 %r13, 0; mov.f32 %f5, 0f00000000;\n\
         mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f6, %f7, %f8, %f9},\n\
         {%r10, %r13, %r13, %r10}, {%r11, %r12}, {%f5, %f5, %f5, %f5};\n\
         cvt.rzi.u32.f32 %r14, %f6; cvt.rzi.u32.f32 %r15, %f9; shl.b32 %r15, %r15, 8;\n\
         or.b32 %r16, %r14, %r15; st.global.u32 [%rd1], %r16;",
    );
    let words = output(&text, launch(1, 32), 32).unwrap();
    for (lane, &word) in (0u32..).zip(&words) {
        assert_eq!(word, (lane / 4) | ((lane / 4 + 8) << 8), "lane {lane}");
    }
}

#[test]
fn blocks_of_a_cluster_see_each_other() {
    let text = kernel(
        ".reqnctapercluster 2, 1, 1",
        "mov.u32 %r4, dynamic; shl.b32 %r5, %r0, 2; add.u32 %r6, %r4, %r5;\n\
         st.shared.u32 [%r6], %r3; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n\
         mov.u32 %r7, %cluster_ctarank; xor.b32 %r7, %r7, 1;\n\
         mapa.shared::cluster.u32 %r8, %r6, %r7; ld.shared::cluster.u32 %r9, [%r8];\n\
         st.global.u32 [%rd1], %r9;",
    );
    let module = Module::parse(&text).unwrap();
    assert_eq!(module.kernels["test"].cluster, Some([2, 1, 1]));
    let mut launch = launch(4, 32);
    launch.cluster = [2, 1, 1];
    let words = output(&text, launch, 128).unwrap();
    assert!((0u32..).zip(words).all(|(x, y)| y == x ^ 32));
}

#[test]
fn copies_arrive_when_waited_for() {
    let body = |wait: &str| {
        format!(
            "st.global.u32 [%rd1], %r3; bar.warp.sync -1;\n\
             mov.u32 %r4, dynamic; shl.b32 %r5, %r0, 4; add.u32 %r6, %r4, %r5;\n\
             setp.lt.u32 %p1, %r0, 8; mul.wide.u32 %rd2, %r0, 16; add.s64 %rd2, %rd0, %rd2;\n\
             @%p1 cp.async.cg.shared.global [%r6], [%rd2], 16; {wait}\n\
             bar.warp.sync -1; shl.b32 %r7, %r0, 2; add.u32 %r7, %r7, %r4;\n\
             ld.shared.u32 %r8, [%r7]; add.u32 %r8, %r8, 5; st.global.u32 [%rd1], %r8;"
        )
    };
    for waits in [
        "cp.async.commit_group; cp.async.wait_group 0;",
        "cp.async.wait_all;",
    ] {
        let waits = kernel("", &body(waits));
        let words = output(&waits, launch(1, 32), 32).unwrap();
        assert!((5u32..).zip(words).all(|(x, y)| x == y));
    }
    for forgets in [
        "",
        "cp.async.commit_group;",
        "cp.async.wait_group 0;", // of no group yet
    ] {
        let forgets = kernel("", &body(forgets));
        let words = output(&forgets, launch(1, 32), 32).unwrap();
        assert!(words.iter().all(|&word| word == 4), "{words:?}");
    }
}

#[test]
fn copies_of_a_part_may_read_all() {
    let copy = |bytes: u32, words: usize| {
        let body = format!(
            "mov.u32 %r4, dynamic; mov.u32 %r5, {bytes};\n\
             cp.async.cg.shared.global [%r4], [%rd0], 16, %r5; cp.async.wait_all;\n\
             ld.shared.u32 %r6, [%r4+12]; st.global.u32 [%rd0], %r6;"
        );
        output(&kernel("", &body), launch(1, 1), words)
    };
    assert_eq!(copy(12, 4).unwrap()[0], 0); // what is not copied
    assert_eq!(copy(0, 3).unwrap()[0], 0);
    let message = copy(12, 3).unwrap_err();
    assert!(message.contains("16 bytes at 0"), "{message}");
}

#[test]
fn a_phase_ends_when_all_have_arrived() {
    let body = |wait: &str| {
        format!(
            "mov.u32 %r4, dynamic; setp.ne.u32 %p1, %r0, 0; @%p1 bra MADE;\n\
             mbarrier.init.shared::cta.b64 [%r4+512], 64;\n\
             MADE: bar.sync 0; shl.b32 %r5, %r0, 2; add.u32 %r6, %r4, %r5;\n\
             st.shared.u32 [%r6], %r0; mbarrier.arrive.shared::cta.b64 _, [%r4+512];\n\
             {wait}\n\
             xor.b32 %r7, %r5, 252; add.u32 %r7, %r7, %r4;\n\
             ld.shared.u32 %r8, [%r7]; st.global.u32 [%rd1], %r8;"
        )
    };
    let watched = Launch {
        watch_races: true,
        ..launch(1, 64)
    };
    for instruction in ["try_wait", "test_wait"] {
        let wait = format!(
            "AGAIN: mbarrier.{instruction}.parity.shared::cta.b64 %p2, [%r4+512], 0; @!%p2 bra AGAIN;"
        );
        let words = output(&kernel("", &body(&wait)), watched, 64).unwrap();
        assert!((0u32..).zip(words).all(|(x, y)| y == 63 - x));
    }
    let message = output(&kernel("", &body("")), watched, 64).unwrap_err();
    assert!(message.contains("raced"), "{message}");
}
