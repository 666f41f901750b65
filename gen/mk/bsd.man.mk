# SPDX-License-Identifier: BSD-2-Clause
# A kernel module needs nothing of it here.
