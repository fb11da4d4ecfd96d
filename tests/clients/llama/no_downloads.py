"""A plugin of pytest for llama.cpp's tests: their models are not fetched before the first test, because none is used.

SPDX-License-Identifier: AGPL-3.0-or-later"""
import utils

utils.ServerPreset.load_all = staticmethod(lambda: None)
