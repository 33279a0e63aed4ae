"""Property tests have no deadline: on a busy machine one slow example says nothing about the code."""

from hypothesis import settings

settings.register_profile("streamlake", deadline=None)
settings.load_profile("streamlake")
