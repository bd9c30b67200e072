"""The painter's dictionary, as data. Stems match word beginnings, so "glow" also reads "glowing"."""

from __future__ import annotations

COLOURS: dict[str, str] = {
    "crimson": "9e1b32", "scarlet": "c8321f", "vermilion": "d9482b", "ruby": "9b111e", "red": "c0271e",
    "maroon": "5f1a24", "rose": "d98a94", "blush": "e8b9b4", "pink": "e79ab0", "magenta": "b8327f",
    "fuchsia": "c43a94", "purple": "6a3391", "violet": "7148b0", "lilac": "b9a2d6", "lavender": "b7a8dc",
    "plum": "5d2d55", "amethyst": "8a5fb8", "indigo": "31318a", "navy": "14224f", "midnight": "10183c",
    "blue": "2c5fb3", "cobalt": "1f4aa8", "sapphire": "18408f", "ultramarine": "2a3aa0", "azure": "3b8bd0",
    "prussian": "16395c", "cerulean": "3a8fb7", "sky": "7fb2dc", "cyan": "34b8cc", "aqua": "5cc4c4",
    "aquamarine": "74d0b4", "turquoise": "2fb5a8", "teal": "14808a", "emerald": "159a64", "jade": "3f9e78",
    "green": "3c9448", "moss": "5c7038", "sage": "95a582", "olive": "6d6b34", "fern": "4c7a42",
    "lime": "9ac83c", "yellow": "e6c636", "gold": "d9a437", "golden": "d9a437", "honey": "d99a2e",
    "amber": "d98a1f", "ochre": "b9802f", "orange": "e0762a", "copper": "b06a43", "bronze": "8a6236",
    "terracotta": "b5603f", "rust": "984424", "umber": "5c4030", "sepia": "6c4e34", "brown": "6a452c",
    "chocolate": "46291b", "peach": "f0bd98", "apricot": "efae76", "coral": "e5806a", "salmon": "e58f7b",
    "beige": "d9c7a8", "sand": "d2b48a", "cream": "f1e7d0", "ivory": "f2ecdc", "pearl": "e6e0da",
    "white": "f3f3f0", "silver": "bcc3ca", "grey": "8a8d91", "gray": "8a8d91", "charcoal": "2b2c30",
    "black": "121216", "obsidian": "15141a",
}  # fmt: skip
"""sRGB of colour words."""

TINTS: dict[str, str] = {
    "aurora": "3fc98c", "ember": "d9621f", "fire": "e0641e", "flame": "e8742a", "lava": "d8481c",
    "sunset": "e08a58", "dusk": "8b6a92", "dawn": "e3b3a0", "ocean": "1d5d8c", "sea": "1f6584",
    "water": "4d8ba8", "ice": "a9d3e4", "frost": "c2dde8", "snow": "e6edf2", "forest": "33603a",
    "leaf": "5d8a3c", "leaves": "5d8a3c", "nebula": "7d4aa8", "galaxy": "554a9c", "desert": "cf9a62",
    "dune": "d6a468", "stone": "77706a", "smoke": "7c7a7e", "ash": "8b8784", "shell": "ead8cf",
    "moonl": "8fa3c4", "starl": "9fb0d4", "candle": "e3a552", "blood": "7c1418", "lichen": "94a06a",
    "cherry": "b8364e", "wine": "5a1a2e", "paper": "ece4d2", "milk": "f0ede4", "opal": "cfe0de",
    "abyss": "0c1c36", "night": "16203f", "autumn": "b3652c", "spring": "9cc070", "winter": "b3cad8",
    "summer": "e2b74c",
}  # fmt: skip
"""What things are coloured like; weaker than colour words."""

FORMS: dict[str, dict[str, float]] = {
    "filament": {"filament": 1.0}, "thread": {"filament": 0.9}, "lightning": {"filament": 1.0},
    "ribbon": {"veil": 0.7, "filament": 0.5}, "vein": {"filament": 0.8}, "crack": {"filament": 0.9},
    "seam": {"filament": 0.6}, "spark": {"dust": 0.5, "filament": 0.3},
    "ember": {"filament": 0.8, "strata": 0.2}, "root": {"filament": 0.7},
    "river": {"filament": 0.6, "strata": 0.3}, "veil": {"veil": 1.0}, "curtain": {"veil": 1.0},
    "aurora": {"veil": 1.2}, "silk": {"veil": 0.7, "strata": 0.3}, "beam": {"veil": 0.3},
    "light": {"veil": 0.08}, "sheer": {"veil": 0.5}, "fog": {"smoke": 0.6, "veil": 0.4},
    "cell": {"cell": 1.0}, "membrane": {"cell": 0.6, "veil": 0.35}, "jellyfish": {"cell": 0.8, "veil": 0.3},
    "bubble": {"cell": 1.0}, "foam": {"cell": 0.9}, "plankton": {"cell": 0.8, "dust": 0.3},
    "coral": {"cell": 0.8}, "moss": {"cell": 0.6, "smoke": 0.3}, "lichen": {"cell": 0.6},
    "shell": {"strata": 0.4, "veil": 0.4}, "soap": {"veil": 0.5, "cell": 0.2}, "polyp": {"cell": 0.6},
    "dew": {"cell": 0.3}, "crystal": {"facet": 1.0}, "frost": {"facet": 0.7, "filament": 0.2},
    "facet": {"facet": 1.0}, "ice": {"facet": 0.7}, "quartz": {"facet": 1.0}, "glass": {"facet": 0.8},
    "stained": {"facet": 1.2}, "mosaic": {"facet": 1.0}, "pane": {"facet": 0.5}, "diamond": {"facet": 1.0},
    "gem": {"facet": 0.9}, "window": {"facet": 0.3}, "strata": {"strata": 1.2}, "layer": {"strata": 0.5},
    "dune": {"strata": 1.2}, "wave": {"strata": 0.8}, "sand": {"strata": 0.5}, "ripple": {"strata": 0.9},
    "canyon": {"strata": 1.0}, "lava": {"strata": 0.4, "filament": 0.5}, "agate": {"strata": 1.0},
    "marble": {"strata": 0.6, "smoke": 0.4}, "ocean": {"strata": 0.5}, "desert": {"strata": 0.6},
    "erosion": {"strata": 0.5}, "dust": {"dust": 0.7}, "star": {"dust": 0.9},
    "nebula": {"dust": 1.2, "smoke": 0.2}, "galaxy": {"dust": 1.1}, "cosmic": {"dust": 0.8},
    "snow": {"dust": 0.4}, "pollen": {"dust": 0.7}, "interstellar": {"dust": 0.5}, "smoke": {"smoke": 1.0},
    "ink": {"smoke": 1.0}, "plume": {"smoke": 0.8}, "cloud": {"smoke": 0.7, "dust": 0.2},
    "mist": {"smoke": 0.5, "veil": 0.2}, "haze": {"smoke": 0.15}, "steam": {"smoke": 0.8},
    "rain": {"veil": 0.3}, "tendril": {"smoke": 0.5, "filament": 0.2}, "breath": {"smoke": 0.4},
    "water": {"smoke": 0.1}, "fern": {"veil": 0.3},
}  # fmt: skip
"""What words look like; weights add up."""

MOODS: dict[str, dict[str, float]] = {
    "dark": {"key": -0.5}, "black": {"key": -0.3}, "night": {"key": -0.45}, "midnight": {"key": -0.5},
    "abyss": {"key": -0.6}, "shadow": {"key": -0.15}, "deep": {"key": -0.2}, "dim": {"key": -0.3},
    "low key": {"key": -0.5}, "charcoal": {"key": -0.3}, "bright": {"key": 0.4}, "pale": {"key": 0.45},
    "high key": {"key": 0.7}, "white": {"key": 0.35}, "ivory": {"key": 0.4}, "cream": {"key": 0.35},
    "pearl": {"key": 0.4}, "milk": {"key": 0.4}, "airy": {"key": 0.3}, "paper": {"key": 0.4},
    "clear": {"key": 0.15}, "day": {"key": 0.15}, "morning": {"key": 0.15, "haze": 0.2},
    "dusk": {"key": -0.2, "warm": 0.1}, "dawn": {"key": 0.1, "haze": 0.2}, "snow": {"key": 0.3},
    "sand": {"key": 0.15}, "sun": {"key": 0.15, "warm": 0.2}, "glow": {"glow": 0.35},
    "luminous": {"glow": 0.4}, "biolum": {"glow": 0.5, "key": -0.4}, "neon": {"glow": 0.6},
    "radiant": {"glow": 0.5}, "backl": {"glow": 0.2}, "ember": {"glow": 0.3, "key": -0.3},
    "starl": {"key": -0.3}, "mist": {"haze": 0.4}, "haze": {"haze": 0.45}, "fog": {"haze": 0.6},
    "bokeh": {"haze": 0.3}, "dust": {"haze": 0.2}, "soft": {"contrast": -0.15},
    "diffuse": {"contrast": -0.25}, "gentle": {"contrast": -0.1}, "delicate": {"contrast": -0.1},
    "crisp": {"contrast": 0.3}, "dramatic": {"contrast": 0.5}, "harsh": {"contrast": 0.4},
    "velvet": {"contrast": 0.1}, "irides": {"spread": 0.7, "key": 0.2}, "rainbow": {"spread": 1.0},
    "mother of pearl": {"spread": 0.5}, "stained": {"spread": 0.6, "key": -0.2},
    "monochrome": {"spread": -1.0, "chroma": -0.6}, "muted": {"chroma": -0.4}, "vivid": {"chroma": 0.4},
    "saturated": {"chroma": 0.4}, "minimal": {"scale": 0.4, "warp": -0.2}, "vast": {"scale": 0.4},
    "macro": {"scale": 0.2}, "fine": {"scale": -0.3}, "tiny": {"scale": -0.3}, "intricate": {"scale": -0.5},
    "immense": {"scale": 0.4}, "warm": {"warm": 0.5}, "cool": {"warm": -0.4}, "cold": {"warm": -0.5},
    "golden hour": {"warm": 0.5}, "storm": {"warp": 0.6, "key": -0.3, "contrast": 0.3},
    "turbul": {"warp": 0.6}, "swirl": {"warp": 0.5}, "spiral": {"warp": 0.4}, "calm": {"warp": -0.3},
    "still": {"warp": -0.3}, "serene": {"warp": -0.3}, "quiet": {"warp": -0.15}, "flow": {"warp": 0.3},
    "fold": {"warp": 0.3}, "falling": {"lean": -0.5}, "rising": {"lean": -0.5}, "vertical": {"lean": -0.6},
    "horizon": {"lean": 0.5}, "drift": {"lean": 0.2}, "underwater": {"haze": 0.4},
    "volumetric": {"haze": 0.3}, "empty": {"scale": 0.3},
}  # fmt: skip
"""How words turn the dials: key is dark to bright, spread of hues, lean of the flow, warp is movement."""
