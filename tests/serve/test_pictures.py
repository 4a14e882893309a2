"""Pictures of the page in memory: they expire, and never take more than they may."""

from __future__ import annotations

import pytest

from promptcodec.serve.pictures import MOST_VIEWS, PageDocument, Pictures, View, new_token
from promptcodec.serve.problems import ServiceError


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def document(size: int) -> PageDocument:
    return PageDocument(new_token(), "a.png", bytes(size), b"", {})


def view(size: int) -> View:
    return View("a.png", {}, {}, {"file": bytes(size)})


def test_pictures_expire_after_they_were_last_used():
    clock = Clock()
    pictures, first, second = Pictures(1000, 60, clock), document(10), document(10)
    pictures.add(first)
    pictures.add(second)
    name = pictures.add_view(first, view(5))
    clock.now = 50
    assert pictures.view(name)[0] is first
    clock.now = 100
    assert pictures.get(first.token) is first
    with pytest.raises(ServiceError, match="send it again"):
        pictures.get(second.token)
    clock.now = 200
    pictures.shrink()
    assert len(pictures) == 0 and pictures.nbytes == 0
    with pytest.raises(ServiceError, match="code the picture again"):
        pictures.view(name)


def test_what_was_used_least_recently_goes_first():
    pictures = Pictures(100, 60, Clock())
    documents = [document(40), document(40)]
    for one in documents:
        pictures.add(one)
    pictures.get(documents[0].token)
    pictures.add(document(40))
    assert pictures.nbytes == 80
    pictures.get(documents[0].token)
    with pytest.raises(ServiceError):
        pictures.get(documents[1].token)
    with pytest.raises(ServiceError, match="larger"):
        pictures.add(document(101))


def test_views_count_and_the_oldest_go():
    pictures, one = Pictures(1000, 60, Clock()), document(10)
    pictures.add(one)
    names = [pictures.add_view(one, view(1)) for _ in range(MOST_VIEWS + 3)]
    assert pictures.nbytes == 10 + MOST_VIEWS
    with pytest.raises(ServiceError):
        pictures.view(names[2])
    assert pictures.view(names[3])
    pictures.remove(one.token)
    assert pictures.nbytes == 0
    with pytest.raises(ServiceError):
        pictures.view(names[-1])


def test_one_picture_with_large_views_stays_within_the_memory():
    pictures, one = Pictures(100, 60, Clock()), document(10)
    pictures.add(one)
    names = [pictures.add_view(one, view(40)) for _ in range(5)]
    assert pictures.nbytes <= 100
    assert pictures.view(names[-1])


def test_a_view_of_a_picture_that_went_in_the_meantime_is_not_kept():
    pictures, one = Pictures(100, 60, Clock()), document(10)
    pictures.add(one)
    pictures.remove(one.token)
    with pytest.raises(ServiceError, match="send it again"):
        pictures.add_view(one, view(1))
    assert pictures.nbytes == 0
