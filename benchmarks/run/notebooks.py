"""The notebooks that are run: an empty one, one that trains, and eight short steps that hand data on."""

from pathlib import Path

import nbformat

EMPTY = ["x = 1"]
TRAIN_PARAMETERS = "depth: int = 6\nrate: float = 0.3"
TRAIN = [
    "import mlflow\nimport pandas as pd\nimport xgboost\n"
    "from sklearn.datasets import make_classification\n"
    "from sklearn.model_selection import cross_val_score, train_test_split",
    "X, y = make_classification(2000, 20, random_state=0)\ndf = pd.DataFrame(X).add_prefix('x')\ndf.describe()",
    "X_train, X_test, y_train, y_test = train_test_split(df, y, random_state=0)",
    "model = xgboost.XGBClassifier(max_depth=depth, learning_rate=rate, n_estimators=40, n_jobs=1, random_state=0)\n"
    "print(cross_val_score(model, X_train, y_train, cv=4))",
    "model.fit(X_train, y_train)\nscore = model.score(X_test, y_test)\nprint(score)",
    "mlflow.models.infer_signature(X_test, model.predict(X_test))",
]
FIGURE = [
    "import matplotlib.pyplot as plt\nfrom sklearn.datasets import load_breast_cancer\n"
    "from sklearn.ensemble import RandomForestClassifier\n\nfrom mlops_nb import step",
    "X, y = load_breast_cancer(return_X_y=True, as_frame=True)\nX.groupby(y).mean().round(3).T.head()",
    "forest = RandomForestClassifier(50, random_state=0, n_jobs=2).fit(X[:400], y[:400])\n"
    "step.log(accuracy=forest.score(X[400:], y[400:]))\nprint(forest.predict_proba(X[400:410]).round(6).tolist())",
    "plt.bar(range(5), forest.feature_importances_[:5]);",
]
STEPS = 8
PREPARE = (  # what a short step does: it reads what the one before it wrote, works on it, and hands it on
    "import numpy as np\nimport pandas as pd\nfrom sklearn.impute import SimpleImputer\n"
    "from sklearn.pipeline import make_pipeline\nfrom sklearn.preprocessing import StandardScaler",
    "rng = np.random.default_rng(0)\ndf = pd.DataFrame(rng.normal(size=(40_000, 10))).add_prefix('x')\n"
    "df = df.mask(rng.random(df.shape) < 0.02)",
    "df[:] = make_pipeline(SimpleImputer(), StandardScaler()).fit_transform(df)",
)


def step_cells(number: int, read: str = "pd.read_parquet('part_{}.parquet')",
               write: str = "df.to_parquet('part_{}.parquet')") -> list[str]:  # fmt: skip
    "A step that exchanges files."
    imports, begin, work = PREPARE
    return [imports, f"df = {read.format(number - 1)}" if number else begin, work, write.format(number)]


def chained_cells(number: int) -> list[str]:
    "The same step as one of a pipeline."
    imports, *work = step_cells(number, "step.load('part_{}')", "step.save('part_{}', df)")
    return [f"{imports}\n\nfrom mlops_nb import step", *work]


def write(path: Path, cells: list[str], parameters: str = "number: int = 0") -> Path:
    "Write cells as a notebook, below one that is tagged `parameters`."
    path.parent.mkdir(parents=True, exist_ok=True)
    tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook = nbformat.v4.new_notebook(cells=[tagged, *map(nbformat.v4.new_code_cell, cells)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path
