"""Read pictures without their warnings, and compare samples."""

import warnings

import numpy as np

from promptcodec.picture.read import read


def quietly(source):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(source)


def grey(source):
    picture = quietly(source)
    assert picture.grey
    return picture.rgb[:, :, 0].tolist()


def eight(values, white):
    return np.floor(np.asarray(values, dtype=np.float64) * 255 / white + 0.5).astype(int)


def near(samples, expected, by=0):
    assert np.abs(np.asarray(samples).astype(int) - expected).max() <= by
