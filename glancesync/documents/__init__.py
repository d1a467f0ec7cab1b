# SPDX-License-Identifier: Apache-2.0
"""Files that an operator wrote: read, parsed with the line of each value, and complained about."""
