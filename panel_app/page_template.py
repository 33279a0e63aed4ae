"""The document of the page as the server sends it: what is seen before any script has run.

Belongs here: the order of its parts. Stays out: everything that is drawn by components (``shell`` and the views).

The library's own template loads all scripts in the head, so that a browser shows nothing until they are there and
have run. Here a line of text comes first and the scripts after it.
"""

from typing import Final

TEMPLATE: Final = """
{% extends "base.html" %}
{% block js_resources %}{% endblock %}
{% block postamble %}
{% for css in resources.css.values() %}
<link rel="stylesheet" href="{{ css }}">
{% endfor %}
{% for raw_css in resources.raw_css %}
<style type="text/css">
{{ raw_css }}
</style>
{% endfor %}
{% endblock %}
{% block loader_css %}
{{ super() }}
#loader { display: flex; background: none; pointer-events: none; align-items: flex-start; justify-content: flex-start;
  padding: 20px 24px; box-sizing: border-box; color: #7f8996; font: 16px Roboto, Helvetica, Arial, sans-serif; }
#loader b { font-size: 24px; }
#loader .spinner { display: none; }
{% endblock %}
{% block loader %}
<div id="loader" role="status"><b>{{ title | e }}</b><span>loading</span><div class="spinner"></div>
<div id="loader-error"></div></div>
{% endblock %}
{% block contents %}
{{ super() }}
{{ bokeh_js if bokeh_js }}
{% for src in resources.js.values() %}
<script src="{{ src }}"></script>
{% endfor %}
{% for src in resources.js_modules.values() %}
<script src="{{ src }}" type="module"></script>
{% endfor %}
{% endblock %}
"""
