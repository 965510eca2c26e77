# /// script
# [tool.marimo.display]
# theme = "system"
# ///
"""The page of `einfluence explore`: a marimo app over a store, read-only."""
# pyright: basic, reportUnusedExpression=false
# ruff: noqa: B018

import marimo

app = marimo.App(width="medium", app_title="einfluence explore")


@app.cell
def _():
    import io

    import marimo as mo
    import pyarrow.csv
    import pyarrow.parquet

    from einfluence.errors import InputError
    from einfluence.report.explore import view as views
    from einfluence.store.schema import TABLES
    from einfluence.store.store import Store
    from einfluence.store.views import read_only

    return InputError, Store, TABLES, io, mo, pyarrow, read_only, views


@app.cell
def _(Store, mo):
    store = Store(mo.cli_args().get("store") or "einfluence-store")
    again = mo.ui.refresh(label="read the store again", options=["10s", "1m"])
    return again, store


@app.cell
def _(again, mo, store, views):
    again
    connection = store.connect(sealed=True)
    view = views.read(connection)
    mo.vstack([mo.md(f"# {view.title}\n\n{view.summary}"), again])
    return connection, view


@app.cell
def _(mo, view):
    arms = mo.ui.dropdown(list(view.matrices), value=next(iter(view.matrices), None), label="arm", full_width=True)
    name = mo.ui.text(placeholder="name or id of a probe", label="probe", debounce=True)
    return arms, name


@app.cell
def _(arms, connection, mo, name, view, views):
    rooms = {title: mo.Html(html) for title, html in view.rooms.items()}
    if arms.value:
        rooms["Matrix"] = mo.vstack([arms, mo.Html(view.matrices[arms.value])])
    probe = mo.Html(views.probe(connection, name.value)) if name.value else mo.md("Name a probe.")
    rooms["One probe"] = mo.vstack([name, probe])
    mo.ui.tabs(dict(sorted(rooms.items(), key=lambda room: room[0] not in ("Verdict", "Matrix"))))
    return


@app.cell
def _(TABLES, mo):
    start = "select estimator, desideratum, variant, value, ci_low, ci_high, n\nfrom desiderata\nwhere domain = 'all'"
    query = mo.ui.code_editor(value=start, language="sql", min_height=120, label="One statement that reads").form(
        submit_button_label="Run"
    )
    columns = mo.accordion(
        {
            "Tables and columns": mo.md(
                "\n".join(f"- **{table}**: {', '.join(schema.names)}" for table, schema in TABLES.items())
                + "\n\nInfluence is in nats, positive where the probe helped."
            )
        }
    )
    mo.vstack([mo.md("## SQL"), query, columns])
    return query, start


@app.cell
def _(InputError, connection, io, mo, pyarrow, query, read_only, start):
    try:
        table = read_only(connection, query.value or start)
        comma, parquet = io.BytesIO(), io.BytesIO()
        pyarrow.csv.write_csv(table, comma)
        pyarrow.parquet.write_table(table, parquet)
        shown = mo.vstack(
            [
                mo.ui.table(table, selection=None, page_size=15, show_download=False),
                mo.hstack(
                    [
                        mo.download(comma.getvalue(), filename="rows.csv", label="CSV"),
                        mo.download(parquet.getvalue(), filename="rows.parquet", label="Parquet"),
                    ],
                    justify="start",
                ),
            ]
        )
    except InputError as error:
        shown = mo.callout(mo.plain_text(str(error)), kind="danger")
    shown
    return


if __name__ == "__main__":
    app.run()
