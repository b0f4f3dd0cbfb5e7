/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Lets every frame pass. At one end of a veth pair, so that the other end can send with XDP_TX.
 *
 * Without headers, since clang does not look where Debian keeps the architecture's. 2 is XDP_PASS of linux/bpf.h.
 */
__attribute__((section("xdp"), used)) int lv_pass(void *frame)
{
    (void)frame;
    return 2;
}

__attribute__((section("license"), used)) char lv_license[] = "GPL";
