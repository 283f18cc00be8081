//! The products in tile registers: the even and the odd terms of 32 apart, from 0, then both added
//! to each other, and that to the sum, as in [`linear`](crate::cpu::linear).

use std::arch::asm;

use super::{Ahead, Halves, KEY_TILE, Keys, PagedAttention, Products, SIDE, STEP, TILE_LEN, few, many, pack};
use crate::cpu::tile_registers::{Loaded, Place, ROW_BYTES, ROWS, Shapes, zero_sums};
use crate::element::{Bf16, Element};
use crate::simd::Vector;

/// Bytes of a whole register.
const TILE_BYTES: usize = ROWS * ROW_BYTES;
/// Vectors of values that are weighed at once: their sums stay in registers.
const COLUMNS: usize = 2;
/// 2^-96.
const LEAST_SUM: f32 = 1.262_177_4e-29;

/// Tile registers.
pub(super) enum Registers {}

impl Products for Registers {
    type Ready = Loaded;

    #[inline(always)]
    unsafe fn ready(num_rows: usize) -> Loaded {
        let shapes = if num_rows > SIDE { Shapes::new() } else { shapes_of_few(num_rows) };
        // SAFETY: the caller's promise, here and below.
        unsafe { shapes.load() }
    }

    #[inline(always)]
    unsafe fn score_few(tiles: &few::Tiles, keys: Halves, head_dim: usize, ahead: Ahead, _num_rows: usize) {
        // SAFETY: see above.
        unsafe { score_few(keys, tiles.query, tiles.scores, head_dim / STEP) }
        ahead.fetch_all();
    }

    #[inline(always)]
    unsafe fn read_scores(tiles: &few::Tiles, row: usize, scores: &mut [f32; KEY_TILE]) {
        // SAFETY: see above.
        unsafe { pack::gather(tiles.scores.add(row), scores) }
    }

    #[inline(always)]
    unsafe fn weigh_few<V: Vector>(
        args: &PagedAttention,
        tiles: &few::Tiles,
        keys: &Keys,
        head: usize,
        ahead: Ahead,
        grown: &[f32],
    ) {
        ahead.fetch_all();
        // SAFETY: see above.
        unsafe {
            match grown.len() {
                1 => weigh_by_vectors::<V, 1>(args, tiles, keys, head),
                2 => weigh_by_vectors::<V, 2>(args, tiles, keys, head),
                3 => weigh_by_vectors::<V, 3>(args, tiles, keys, head),
                4 => weigh_by_vectors::<V, 4>(args, tiles, keys, head),
                _ => {
                    pack::values(args, keys, head, tiles.values);
                    weigh_few(tiles.weights, tiles.values, tiles.weighted, args.head_dim);
                }
            }
            for (row, grown) in grown.iter().enumerate() {
                for d in (0..args.head_dim).step_by(V::LANES) {
                    let place = row * args.head_dim + d;
                    add(tiles.output.add(place), V::splat(*grown), tiles.weighted.add(place));
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn score_many(tiles: &many::Tiles, keys: Halves, query: *const u32, head_dim: usize) {
        // SAFETY: see above.
        unsafe { score_many(keys, query, tiles.weights, head_dim / STEP) }
    }

    #[inline(always)]
    unsafe fn prepare_values(tiles: &many::Tiles, head_dim: usize) {
        // SAFETY: see above.
        unsafe { pack::transpose_tiles(tiles.values, tiles.transposed, head_dim / SIDE) }
    }

    #[inline(always)]
    unsafe fn weigh_many<V: Vector>(tiles: &many::Tiles, output: *mut f32, head_dim: usize, grown: [V; 2]) {
        // SAFETY: see above.
        unsafe {
            weigh_many(tiles.transposed, tiles.pairs, tiles.weighted, head_dim);
            for d in 0..head_dim {
                for (r, grown) in grown.iter().enumerate() {
                    let place = (2 * d + r) * SIDE;
                    add(output.add(place), *grown, tiles.weighted.add(place));
                }
            }
        }
    }
}

/// Adds weighted values to the output so far times what the maximum has grown by.
///
/// # Safety
/// Both are vectors.
#[inline(always)]
unsafe fn add<V: Vector>(output: *mut f32, grown: V, weighted: *const f32) {
    // SAFETY: the caller's promise.
    unsafe { V::load(output).mul_add(grown, without_least(V::load(weighted))).store(output) }
}

/// Returns 0 in place of sums too small for the ways to sum to agree: registers take numbers that
/// are not normal for 0, vectors do not. That changes a sum of 32 terms by less than 2^-121, and so
/// none of 2^-96 or more.
///
/// # Safety
/// The processor has the instructions of `V`.
#[inline(always)]
unsafe fn without_least<V: Vector>(sum: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let size = sum.max(V::splat(0.0).sub(sum));
        sum.keep_where_ge(size, V::splat(LEAST_SUM), V::splat(0.0))
    }
}

/// Weighs the values of a head by vectors, straight from the cache, in the order of the registers:
/// for so few rows it takes longer to interleave the values.
///
/// # Safety
/// As for [`Products::weigh_few`]; a head is whole pairs of vectors.
#[inline(always)]
unsafe fn weigh_by_vectors<V: Vector, const R: usize>(
    args: &PagedAttention,
    tiles: &few::Tiles,
    keys: &Keys,
    head: usize,
) {
    let cache = (args.value_cache as *const Bf16).wrapping_add(head * args.head_dim);
    let mut weights = [[0.0; KEY_TILE]; R];
    // SAFETY: the caller's promise.
    unsafe {
        for (row, weights) in weights.iter_mut().enumerate() {
            let rounded = tiles.weights.add(row * SIDE).cast::<Bf16>();
            for key in (0..KEY_TILE).step_by(V::LANES) {
                Bf16::load::<V>(rounded.add(key)).store(weights.as_mut_ptr().add(key));
            }
        }
        for d in (0..args.head_dim).step_by(COLUMNS * V::LANES) {
            let (mut even, mut odd) = ([[V::splat(0.0); COLUMNS]; R], [[V::splat(0.0); COLUMNS]; R]);
            for key in (0..keys.count).step_by(2) {
                weigh_key::<V, R>(&mut even, cache.add(keys.offsets[key] + d), &weights, key);
                if key + 1 < keys.count {
                    weigh_key::<V, R>(&mut odd, cache.add(keys.offsets[key + 1] + d), &weights, key + 1);
                }
            }
            for row in 0..R {
                for column in 0..COLUMNS {
                    let place = row * args.head_dim + d + column * V::LANES;
                    even[row][column].add(odd[row][column]).store(tiles.weighted.add(place));
                }
            }
        }
    }
}

/// Adds two vectors of a key's values, weighted, to the sums of `R` rows.
#[inline(always)]
unsafe fn weigh_key<V: Vector, const R: usize>(
    sums: &mut [[V; COLUMNS]; R],
    values: *const Bf16,
    weights: &[[f32; KEY_TILE]; R],
    key: usize,
) {
    for column in 0..COLUMNS {
        // SAFETY: the caller's head has these values.
        let values = unsafe { Bf16::load::<V>(values.add(column * V::LANES)) };
        for row in 0..R {
            // SAFETY: a vector proves that the processor has the instructions.
            let weight = unsafe { V::splat(weights[row][key]) };
            sums[row][column] = values.mul_add(weight, sums[row][column]);
        }
    }
}

/// The shapes of the registers for up to 16 rows of a query; more have whole registers.
pub(super) fn shapes_of_few(num_rows: usize) -> Shapes {
    let row_bytes = num_rows * size_of::<f32>();
    let shapes = Shapes::new().rows([2, 3, 7], num_rows);
    [0, 1, 6].into_iter().fold(shapes, |shapes, register| shapes.row_bytes(register, row_bytes))
}

/// The scores of two times 16 keys with the rows of a query tile, [32, 16].
///
/// # Safety
/// The registers have [`shapes_of_few`], and all has the sizes given; likewise below.
pub(super) unsafe fn score_few(keys: Halves, query: *const u32, scores: *mut f32, num_steps: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm6, [{query} + {row}]",
            "tileloadd tmm4, [{first} + {step}]",
            "tileloadd tmm5, [{second} + {step}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm5, tmm6",
            "add {first}, 64",
            "add {second}, 64",
            "add {query}, {tile}",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{scores} + {row}], tmm0",
            "tilestored [{scores} + {row} + {tile}], tmm1",
            query = inout(reg) query => _,
            first = inout(reg) keys.first => _,
            second = inout(reg) keys.second => _,
            steps = inout(reg) num_steps => _,
            step = in(reg) keys.step,
            scores = in(reg) scores,
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack)
        );
    }
}

/// The weighted sums of a tile of values, [rows, head_dim].
///
/// # Safety
/// As above; `head_dim` is a multiple of 32.
pub(super) unsafe fn weigh_few(weights: *const u32, values: *const u32, sums: *mut f32, head_dim: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm7, [{weights} + {row}]",
            "2:",
            "tileloadd tmm4, [{values} + {row}]",
            "tileloadd tmm5, [{values} + {row} + {tile}]",
            "tilezero tmm2",
            "tilezero tmm3",
            "tdpbf16ps tmm2, tmm7, tmm4",
            "tdpbf16ps tmm3, tmm7, tmm5",
            "tilestored [{sums} + {step}], tmm2",
            "tilestored [{sums} + {step} + 64], tmm3",
            "add {values}, 2 * {tile}",
            "add {sums}, 128",
            "dec {steps}",
            "jnz 2b",
            weights = in(reg) weights,
            values = inout(reg) values => _,
            sums = inout(reg) sums => _,
            steps = inout(reg) head_dim / (2 * SIDE) => _,
            step = in(reg) head_dim * size_of::<f32>(),
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// The scores of two times 16 keys with the rows of two query tiles, [32, 32].
///
/// # Safety
/// The registers are whole, and all has the sizes given; likewise below.
pub(super) unsafe fn score_many(keys: Halves, query: *const u32, scores: *mut f32, num_steps: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        zero_sums();
        asm!(
            "2:",
            "tileloadd tmm6, [{query} + {row}]",
            "tileloadd tmm4, [{first} + {step}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{other} + {row}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{second} + {step}]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {first}, 64",
            "add {second}, 64",
            "add {query}, {tile}",
            "add {other}, {tile}",
            "dec {steps}",
            "jnz 2b",
            query = inout(reg) query => _,
            other = inout(reg) query.add(num_steps * TILE_LEN) => _,
            first = inout(reg) keys.first => _,
            second = inout(reg) keys.second => _,
            steps = inout(reg) num_steps => _,
            step = in(reg) keys.step,
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, readonly)
        );
        Place::stacked(scores.cast(), 2 * ROW_BYTES).store();
    }
}

/// The weighted sums of a tile of values, [head_dim, 32].
///
/// # Safety
/// As above; `head_dim` is a multiple of 32.
pub(super) unsafe fn weigh_many(values: *const u32, weights: *const u32, sums: *mut f32, head_dim: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tileloadd tmm6, [{weights} + {row}]",
            "tileloadd tmm7, [{weights} + {row} + {tile}]",
            weights = in(reg) weights,
            row = in(reg) ROW_BYTES,
            tile = const TILE_BYTES,
            out("tmm6") _, out("tmm7") _,
            options(nostack, readonly, preserves_flags)
        );
        for d in (0..head_dim).step_by(2 * SIDE) {
            zero_sums();
            asm!(
                "tileloadd tmm4, [{values} + {row}]",
                "tileloadd tmm5, [{values} + {row} + {tile}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                values = in(reg) values.add(d * SIDE),
                row = in(reg) ROW_BYTES,
                tile = const TILE_BYTES,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _,
                options(nostack, readonly, preserves_flags)
            );
            Place::stacked(sums.add(d * 2 * SIDE).cast(), 2 * ROW_BYTES).store();
        }
    }
}
