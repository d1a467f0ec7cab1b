# SPDX-License-Identifier: Apache-2.0
"""Which regions an image goes to. Pure: facts in, names out."""
