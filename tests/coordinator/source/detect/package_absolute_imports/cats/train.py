from cats.models import build


def main():
    model = build()
    model.compile(loss="mse")
    model.fit(None)


if __name__ == "__main__":
    main()
