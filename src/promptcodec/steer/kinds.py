"""The kinds of adapters in the package, and the modules that define them."""

BUILT_IN = {
    "pyramid": "promptcodec.steer.methods.pyramid",
    "beta": "promptcodec.steer.methods.beta",
    "channels": "promptcodec.steer.methods.channels",
    "gain-units": "promptcodec.steer.methods.gain_units",
    "lpm": "promptcodec.steer.methods.lpm",
    "quality-map": "promptcodec.steer.methods.song",
    "region-gains": "promptcodec.steer.methods.region_gains",
    "sft": "promptcodec.steer.methods.sft",
    "step": "promptcodec.steer.methods.quantisation_step",
    "transtic": "promptcodec.steer.methods.transtic",
}
PARAMETER_FREE = ("step",)  # need no file: their names stand for them
