"""The kinds of adapters in the package, and the modules that define them."""

BUILT_IN = {
    "pyramid": "promptcodec.steer.pyramid",
    "beta": "promptcodec.steer.beta",
    "channels": "promptcodec.steer.channels",
    "gain-units": "promptcodec.steer.gain_units",
    "lpm": "promptcodec.steer.lpm",
    "quality-map": "promptcodec.steer.song",
    "region-gains": "promptcodec.steer.region_gains",
    "sft": "promptcodec.steer.sft",
    "step": "promptcodec.steer.quantisation_step",
    "transtic": "promptcodec.steer.transtic",
}
PARAMETER_FREE = ("step",)  # need no file: their names stand for them
