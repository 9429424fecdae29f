"""Where the documentation of the estimators stands (layer 0)."""

from importlib.metadata import metadata


class DocumentedMixin:
    """Link an estimator that a notebook shows to its page.

    scikit-learn's HTML representation asks for these attributes.
    """

    _doc_link_module = "sksiamese"

    @property
    def _doc_link_template(self):
        """Address of a page, from the package's metadata, by module and name."""
        urls = metadata("sksiamese").get_all("Project-URL")
        site = dict(url.split(", ", 1) for url in urls)["Documentation"]
        return f"{site}api/{{estimator_module}}.{{estimator_name}}.html"
