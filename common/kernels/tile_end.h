/* Forgets what tiles.c defined for one instruction set.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#undef ISA
#undef TARGET
#undef vec
#undef STEP
#undef x_type
#undef zero
#undef sums
#undef load_x
#undef store_x
#undef load_w
#undef spread
#undef lower
#undef upper
#undef multiply
#undef multiply_add
#undef ROWS
#undef OUTS
#undef OUTS_1
#undef TALL_OUTS
#undef MIX_COLS
#undef ONLY_BF16
#undef MULTIPLY_PAIRS
